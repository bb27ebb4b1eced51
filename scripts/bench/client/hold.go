package main

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"time"
)

// dialers is how many connections are made at once.
const dialers = 16

// open makes all connections of a mode, and keeps those that work. What failed is
// counted.
func open[T any](r *run, dial func() (T, error)) []T {
	var mu sync.Mutex
	var made []T
	todo := make(chan struct{}, r.conns)
	for range r.conns {
		todo <- struct{}{}
	}
	close(todo)
	var wg sync.WaitGroup
	for range dialers {
		wg.Go(func() {
			for range todo {
				c, err := dial()
				if err != nil {
					r.fail(err)
					continue
				}
				mu.Lock()
				made = append(made, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return made
}

// hold says by a line that all connections stand, and waits for one; the time
// for sending begins then.
func (r *run) hold() {
	fmt.Println("held")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // the end of the input is as good as a line
	r.start = time.Now()
}

// each calls f for all of a mode's connections at once, with its number.
func each[T any](all []T, f func(int, T)) {
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() { f(i, c) })
	}
	wg.Wait()
}
