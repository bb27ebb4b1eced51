package upstream

import (
	"context"
	"testing"
)

// TestReuseDoesNotAllocate holds the cost of the hot path: a lock, a pop and one
// system call.
func TestReuseDoesNotAllocate(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{})
	to := target(o, root.pool())
	to.ALPN = []string{"http/1.1"}
	c := mustGet(t, p, to)
	exchange(t, c)
	p.Put(c)
	ctx := context.Background()
	n := testing.AllocsPerRun(100, func() {
		c, err := p.Get(ctx, &to)
		if err != nil {
			t.Fatal(err)
		}
		p.Put(c)
	})
	if n != 0 {
		t.Errorf("%v allocations for Get and Put", n)
	}
}

func BenchmarkGetPut(b *testing.B) {
	o, root := secure(b, &origin{})
	p := newPool(b, Options{})
	to := target(o, root.pool())
	c := mustGet(b, p, to)
	exchange(b, c)
	p.Put(c)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		c, err := p.Get(ctx, &to)
		if err != nil {
			b.Fatal(err)
		}
		p.Put(c)
	}
}

func BenchmarkHandshake(b *testing.B) {
	o, root := secure(b, &origin{})
	for _, resumed := range []bool{false, true} {
		b.Run(map[bool]string{false: "full", true: "resumed"}[resumed], func(b *testing.B) {
			p := newPool(b, Options{})
			to := target(o, root.pool())
			for b.Loop() {
				if !resumed {
					p.Retire()
				}
				c := mustGet(b, p, to)
				exchange(b, c)
				_ = c.Close()
			}
		})
	}
}
