package audit

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkManyProcesses appends records of many processes in turn.
func BenchmarkManyProcesses(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := open(b, b.TempDir(), Options{})
			records := make([]Record, n)
			for i := range records {
				records[i] = sharedRecord(uint32(i + 1))
			}
			for i := 0; b.Loop(); i++ {
				if err := l.Append(&records[i%n]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(l.Stats().Bytes)/float64(b.N), "bytes/record")
		})
	}
}

// BenchmarkGroupCommit is Append with Synced, by so many at once.
func BenchmarkGroupCommit(b *testing.B) {
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := open(b, b.TempDir(), Options{Synced: true})
			var failed atomic.Int64
			b.SetParallelism(n)
			b.RunParallel(func(pb *testing.PB) {
				r := sharedRecord(1)
				for pb.Next() {
					if l.Append(&r) != nil {
						failed.Add(1)
					}
				}
			})
			if failed.Load() > 0 {
				b.Fatalf("%d appends failed", failed.Load())
			}
		})
	}
}
