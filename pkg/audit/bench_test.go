package audit

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/process"
)

// sampleProcess is an identity such as a container's process has.
func sampleProcess(pid uint32, exe string) *process.Identity {
	return &process.Identity{
		PID: pid, Start: time.Date(2026, 3, 1, 12, 0, 0, 120e6, time.UTC), Exe: exe,
		ExeSHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Argv:      []string{exe, "--once", "https://api.partner.example/api/v1/balance"},
		UID:       1000, User: "billing", Cgroup: "/system.slice/billing.service", Unit: "billing.service",
		Parents: []process.Parent{{PID: 900, Exe: "/usr/bin/bash"}, {PID: 1, Exe: "/usr/lib/systemd/systemd"}},
	}
}

func sampleRecord(p *process.Identity) Record {
	return Record{
		Time: time.Now(), Kind: KindRequest, Flow: "m2kq81xk3f0a", Process: p,
		Original: &Endpoint{"203.0.113.10", 443}, SNI: "api.partner.example", Host: "api.partner.example",
		Method: "POST", Path: "/api/v1/transfers?account=[redacted]", Route: "partner-transfers", Decision: "intercept",
		Credentials: []Credential{{"partner-token", "1a2b3c", "bearer"}, {"partner-hmac", "4d5e6f", "signature"}},
		Signature:   &Signature{"knoxcall", "partner-hmac", "c0ffee00c0ffee00c0ffee00c0ffee00", 1772366400},
		Upstream:    &Upstream{"203.0.113.10", 443, "1.3", "http/1.1", Digest{1, 2, 3}, Digest{4, 5, 6}},
		EgressIP:    "198.51.100.20", Status: 200, BytesIn: 412, BytesOut: 733, DurationMS: 12.345,
	}
}

func BenchmarkEncode(b *testing.B) {
	r := sampleRecord(sampleProcess(4711, "/opt/billing/bin/transfer"))
	var e encoder
	b.ReportAllocs()
	for b.Loop() {
		e.encode(&r)
	}
	b.SetBytes(int64(len(e.body)))
}

func BenchmarkAppend(b *testing.B) {
	l, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	r := sampleRecord(sampleProcess(4711, "/opt/billing/bin/transfer"))
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Append(&r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendParallel(b *testing.B) {
	l, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var failed atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := sampleRecord(sampleProcess(4711, "/opt/billing/bin/transfer"))
		for pb.Next() {
			if l.Append(&r) != nil {
				failed.Add(1)
			}
		}
	})
	if failed.Load() > 0 {
		b.Fatalf("%d appends failed", failed.Load())
	}
}
