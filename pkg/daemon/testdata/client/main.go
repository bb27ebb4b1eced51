// Command client is an unmodified program of the system tests: it knows nothing
// of Outwarden.
//
//	client get URL [HOST]     protocol and status, then the body
//	client insist URL         the same, anew as long as the connection is refused
//	client steps              for each URL on stdin: one get on a new connection
//	client burst N ADDR URL   N connections at once, all open before the first request
//	client names FAMILY ADDR  what the kernel says about one connection
//	client connect ADDR       connects and closes
//	client alone ADDR         connects from a network namespace that it makes
//	client crowd N ADDR       the same, N times at once
//	client squat ADDR...      listens there
//	client dial N ADDR NAME [PATIENCE]  N at a time connect and shake hands until stdin ends
//	client grab ADDR...       tries to listen there until stdin ends
//	client load N URL         N at a time get URL on new connections until stdin ends
//	client stay NAME SEALED   one connection of each kind at a time, for as long as it lasts
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const patience = 60 * time.Second

func main() {
	err := fmt.Errorf("unknown arguments %q", os.Args[1:])
	switch args := os.Args[2:]; os.Args[1] {
	case "get":
		err = get(args[0], args[1:]...)
	case "insist":
		err = insist(args[0])
	case "steps":
		err = steps()
	case "burst":
		err = burst(args[0], args[1], args[2])
	case "names":
		err = names(args[0], args[1])
	case "dial":
		err = dial(args[0], args[1], args[2], args[3:]...)
	case "grab":
		err = grab(args)
	case "load":
		err = load(args[0], args[1])
	case "stay":
		err = stay(args[0], args[1])
	case "connect":
		err = connect(args[0])
	case "alone":
		err = alone(args[0])
	case "crowd":
		err = crowd(args[0], args[1])
	case "squat":
		err = squat(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func get(url string, host ...string) error {
	client := http.Client{Timeout: patience, Transport: &http.Transport{ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if len(host) > 0 {
		req.Host = host[0]
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Printf("%s %d\n%s\n", resp.Proto, resp.StatusCode, body)
	return err
}

// steps answers each line with at least one and then an empty one.
func steps() error {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := get(lines.Text()); err != nil {
			fmt.Println("error:", err)
		}
		fmt.Println("done")
	}
	return nil
}

// burst opens n connections, says so, and at a line on stdin sends one request on
// each, one after the other: how many origins can answer at once is not the
// question. The path tells which process and which connection it was.
func burst(n, addr, base string) error {
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	conns, err := dialAll(count, addr, u.Hostname())
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for i, c := range conns {
		if err := ask(c, u, i); err != nil {
			return err
		}
	}
	return nil
}

func dialAll(n int, addr, name string) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	return conns, each(n, func(i int) error {
		dialer := &net.Dialer{Timeout: patience}
		c, err := tls.DialWithDialer(dialer, "tcp", addr, &tls.Config{ServerName: name, NextProtos: []string{"http/1.1"}})
		if err != nil {
			return err
		}
		conns[i] = c
		return c.SetDeadline(time.Now().Add(patience))
	})
}

func ask(c net.Conn, u *url.URL, i int) error {
	defer c.Close()
	path := fmt.Sprintf("%s/%d/%d", u.Path, os.Getpid(), i)
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, u.Host); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %v: %s", path, resp.Status, err, body)
	}
	return nil
}

// each runs f for 0 to n-1 at once and returns the first error.
func each(n int, f func(int) error) error {
	var work sync.WaitGroup
	failed := make(chan error, n)
	for i := range n {
		work.Go(func() {
			if err := f(i); err != nil {
				failed <- err
			}
		})
	}
	work.Wait()
	close(failed)
	return <-failed
}

// names connects with plain system calls, so that no library caches an address,
// and prints family, peer and own address without its port.
func names(family, addr string) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	domain, sockaddr := syscall.AF_INET6, syscall.Sockaddr(&syscall.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())})
	if family == "4" {
		domain, sockaddr = syscall.AF_INET, &syscall.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	}
	fd, err := syscall.Socket(domain, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	if err := syscall.Connect(fd, sockaddr); err != nil {
		return err
	}
	peer, err := syscall.Getpeername(fd)
	if err != nil {
		return err
	}
	own, err := syscall.Getsockname(fd)
	if err != nil {
		return err
	}
	p, o := addrPort(peer), addrPort(own)
	fmt.Println("family", domain, "peer", p, "own", o.Addr(), "port known", o.Port() != 0)
	return nil
}

func addrPort(s syscall.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr), uint16(s.Port))
	}
	return netip.AddrPort{}
}

func connect(addr string) error {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	fmt.Println("connected")
	return c.Close()
}
