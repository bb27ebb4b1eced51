package main

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/outwarden/outwarden/scripts/bench/rpc"
)

// unary does one call after another on each stream of each connection.
func (r *run) unary() error {
	return r.rpcs(func(c *grpc.ClientConn) (func() error, error) {
		return func() error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			return c.Invoke(ctx, rpc.Call, message(), new(rpc.Message))
		}, nil
	})
}

// chat sends one message after another on each stream of each connection, and
// waits for each to come back.
func (r *run) chat() error {
	return r.rpcs(func(c *grpc.ClientConn) (func() error, error) {
		s, err := c.NewStream(context.Background(), rpc.Stream(), rpc.Chat)
		if err != nil {
			return nil, err
		}
		return func() error {
			if err := s.SendMsg(message()); err != nil {
				return err
			}
			return s.RecvMsg(new(rpc.Message))
		}, nil
	})
}

// rpcs opens the streams, has each do warmth calls, holds, and calls on.
func (r *run) rpcs(stream func(*grpc.ClientConn) (func() error, error)) error {
	var streams []func() error
	for _, c := range open(r, r.dialRPC) {
		defer c.Close()
		for range r.streams {
			call, err := stream(c)
			if err != nil {
				return err
			}
			streams = append(streams, call)
		}
	}
	each(streams, func(_ int, call func() error) {
		for range warmth {
			if err := call(); err != nil {
				r.fail(err)
				return
			}
		}
	})
	r.hold()
	each(streams, func(_ int, call func() error) {
		for n := 0; r.more(n); n++ {
			t := time.Now()
			if err := call(); err != nil {
				r.fail(err)
				return
			}
			r.count(t, nil)
		}
	})
	return nil
}

func (r *run) dialRPC() (*grpc.ClientConn, error) {
	config := r.config.Clone()
	config.NextProtos = nil // grpc knows
	return grpc.NewClient("passthrough:///"+r.url.addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
}

// message has the size of WebSocket's.
func message() *rpc.Message { return &rpc.Message{Value: make([]byte, messageSize)} }

// probeRPC does one call and tells what the origin saw.
func (r *run) probeRPC() error {
	c, err := r.dialRPC()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var seen rpc.Message
	var other peer.Peer
	err = c.Invoke(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+r.bearer), rpc.Seen, message(), &seen, grpc.Peer(&other))
	if err != nil {
		return err
	}
	if info, ok := other.AuthInfo.(credentials.TLSInfo); ok {
		r.tell(info.State, 200, string(seen.Value))
	}
	return nil
}
