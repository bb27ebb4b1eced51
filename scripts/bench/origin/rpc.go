package main

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/outwarden/outwarden/scripts/bench/rpc"
)

// serveRPC is grpc-go's own server. Under the bad name it shows a leaf that a
// verifying client refuses, and works like under the other: who calls it there
// and gets an answer did not verify.
func serveRPC(o options) error {
	good, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return err
	}
	bad, err := tls.LoadX509KeyPair(o.bad.cert, o.bad.key)
	if err != nil {
		return err
	}
	config := secured()
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == o.bad.name {
			return &bad, nil
		}
		return &good, nil
	}
	l, err := net.Listen("tcp", o.listenRPC)
	if err != nil {
		return err
	}
	admit := admission("Bearer " + o.bearer)
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnaryInterceptor(admit.unary), grpc.StreamInterceptor(admit.stream))
	rpc.Register(s)
	return s.Serve(l)
}

// admission is the credential that calls must have.
type admission string

func (a admission) check(ctx context.Context) error {
	if rpc.Authorization(ctx) != string(a) {
		return status.Error(codes.Unauthenticated, "no credential")
	}
	return nil
}

func (a admission) unary(ctx context.Context, m any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := a.check(ctx); err != nil {
		return nil, err
	}
	return next(ctx, m)
}

func (a admission) stream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := a.check(s.Context()); err != nil {
		return err
	}
	return next(srv, s)
}
