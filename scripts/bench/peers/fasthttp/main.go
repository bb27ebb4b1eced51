// Command fasthttp is fasthttp's server and host clients with streamed bodies.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/outwarden/outwarden/scripts/bench/peers/edge"
)

const connections = 8192 // of each host client

type proxy struct {
	bearer  string
	origins map[string]*fasthttp.HostClient
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "fasthttp:", err)
		os.Exit(1)
	}
}

func serve() error {
	e, err := edge.Open("http/1.1")
	if err != nil {
		return err
	}
	p := &proxy{e.Bearer, map[string]*fasthttp.HostClient{}}
	for name, addr := range e.Origins {
		p.origins[name] = &fasthttp.HostClient{
			Addr: addr, IsTLS: true, TLSConfig: e.Client(name), MaxConns: connections, MaxIdleConnDuration: 10 * time.Minute,
			StreamResponseBody: true, NoDefaultUserAgentHeader: true, DisableHeaderNamesNormalizing: true, DisablePathNormalizing: true,
		}
	}
	s := &fasthttp.Server{
		Handler: p.handle, NoDefaultServerHeader: true, DisableHeaderNamesNormalizing: true, StreamRequestBody: true, Concurrency: 65536,
		MaxRequestBodySize: 1 << 30,
	}
	return s.Serve(tls.NewListener(e.Listener, e.Server))
}

func (p *proxy) handle(c *fasthttp.RequestCtx) {
	origin := p.origins[string(c.Host())]
	if origin == nil {
		c.Error("no such host", fasthttp.StatusMisdirectedRequest)
		return
	}
	c.Request.Header.Set("Authorization", p.bearer)
	if c.Request.ConnectionClose() {
		p.last(c, origin)
		return
	}
	c.Request.Header.Del("Connection")
	if err := origin.Do(&c.Request, &c.Response); err != nil {
		c.Error(err.Error(), fasthttp.StatusBadGateway)
		return
	}
	c.Response.Header.Del("Connection")
}

// last answers a request that ends its connection. The upstream's answer is kept
// apart: fasthttp marks the response that it writes as the last one, and would
// close the upstream connection with it.
func (p *proxy) last(c *fasthttp.RequestCtx, origin *fasthttp.HostClient) {
	c.Request.Header.ResetConnectionClose()
	c.Request.Header.Del("Connection")
	answer := fasthttp.AcquireResponse()
	if err := origin.Do(&c.Request, answer); err != nil {
		c.Error(err.Error(), fasthttp.StatusBadGateway)
		return
	}
	answer.Header.CopyTo(&c.Response.Header)
	c.Response.SetBodyStream(&stream{answer.BodyStream(), answer}, answer.Header.ContentLength())
	c.SetConnectionClose()
}

// stream is a body that gives its response back when it is closed.
type stream struct {
	io.Reader
	of *fasthttp.Response
}

func (s *stream) Close() error {
	err := s.of.CloseBodyStream()
	fasthttp.ReleaseResponse(s.of)
	return err
}
