package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
)

// load gets a URL over and over, each time on a new connection, until stdin ends.
// It prints every failure, "loading" once the first answer is there, and in the end
// how many went well.
func load(workers, url string) error {
	n, err := strconv.Atoi(workers)
	if err != nil {
		return err
	}
	var stop atomic.Bool
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop.Store(true) }()
	var well atomic.Int64
	var work sync.WaitGroup
	for range n {
		work.Go(func() {
			for !stop.Load() {
				if err := once(url); err != nil {
					fmt.Println("failed:", err)
				} else if well.Add(1) == 1 {
					fmt.Println("loading")
				}
			}
		})
	}
	work.Wait()
	fmt.Println("well:", well.Load())
	return nil
}

func once(url string) error {
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{NextProtos: []string{"http/1.1"}},
	}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}
