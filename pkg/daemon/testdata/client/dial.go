package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// dial connects over and over until stdin ends, n at a time, and begins a TLS
// handshake on each connection. In the end it prints how often a connect went well,
// how often it was refused, how often the connection broke later, and how often
// either hung for longer than patience, which is 20 s unless told.
func dial(n, addr, name string, patience ...string) error {
	workers, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	longest, err := time.ParseDuration(append(patience, "20s")[0])
	if err != nil {
		return err
	}
	var stop atomic.Bool
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop.Store(true) }()
	var well, refused, broke, hung atomic.Int64
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for !stop.Load() {
				switch reached, err := greet(addr, name, longest); {
				case err == nil:
					if well.Add(1) == 1 {
						fmt.Println("loading")
					}
				case errors.Is(err, os.ErrDeadlineExceeded):
					fmt.Println("hung:", err)
					hung.Add(1)
				case reached, errors.Is(err, syscall.EPIPE): // it stood, and had ended in both directions before connect(2) told so
					broke.Add(1)
				case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNABORTED):
					refused.Add(1)
					time.Sleep(time.Millisecond) // who is refused at once would do nothing else
				default:
					fmt.Println("strange:", err)
				}
			}
		})
	}
	work.Wait()
	fmt.Println("well", well.Load(), "refused", refused.Load(), "broke", broke.Load(), "hung", hung.Load())
	return nil
}

// greet connects and shakes hands; reached: it connected.
func greet(addr, name string, patience time.Duration) (reached bool, err error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return false, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	return true, tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake() // whoever answers: the far side counts who reached it
}

// grab tries to listen on addresses, over and over, until stdin ends, and prints
// how often it tried and how often it could.
func grab(addrs []string) error {
	var stop atomic.Bool
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop.Store(true) }()
	fmt.Println("ready")
	tries, got := 0, 0
	for !stop.Load() {
		for _, addr := range addrs {
			tries++
			if l, err := net.Listen("tcp", addr); err == nil {
				got++
				_ = l.Close()
			}
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Println("tries", tries, "got", got)
	return nil
}
