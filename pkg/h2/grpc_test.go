package h2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/h2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echoService has one method of each kind, without generated code.
var echoService = grpc.ServiceDesc{
	ServiceName: "test.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		if in.Value == "fail" {
			return nil, status.Error(codes.FailedPrecondition, "as asked")
		}
		md, _ := metadata.FromIncomingContext(ctx)
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-seen", strings.Join(md.Get("x-sent"), ",")))
		return in, nil
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Both", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for {
			in := new(wrapperspb.StringValue)
			err := s.RecvMsg(in)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := s.SendMsg(in); err != nil {
				return err
			}
		}
	}}},
}

func dialGRPC(t *testing.T) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&echoService, nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-served })
	through, _ := startRelay(t, l.Addr().String(), nil, nil, h2.Options{})
	c, err := grpc.NewClient("passthrough:///"+through, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestGRPCUnary: messages, metadata, trailers and errors pass.
func TestGRPCUnary(t *testing.T) {
	c := dialGRPC(t)
	for _, size := range []int{0, 5, 70000, 3 << 20} {
		in, out := wrapperspb.String(strings.Repeat("m", size)), new(wrapperspb.StringValue)
		var trailer metadata.MD
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-sent", "value")
		if err := c.Invoke(ctx, "/test.Echo/Unary", in, out, grpc.Trailer(&trailer)); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if out.Value != in.Value || trailer.Get("x-seen")[0] != "value" {
			t.Errorf("%d bytes: %d came back, trailer %v", size, len(out.Value), trailer)
		}
	}
	err := c.Invoke(t.Context(), "/test.Echo/Unary", wrapperspb.String("fail"), new(wrapperspb.StringValue))
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "as asked") {
		t.Errorf("got %v", err)
	}
}

// TestGRPCBothWays: each message is answered before the next is sent, then many
// at once, then the client breaks off.
func TestGRPCBothWays(t *testing.T) {
	c := dialGRPC(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := c.NewStream(ctx, &echoService.Streams[0], "/test.Echo/Both")
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(n int) {
		t.Helper()
		for i := range n {
			if err := s.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			out := new(wrapperspb.StringValue)
			if err := s.RecvMsg(out); err != nil || out.Value != fmt.Sprint(i) {
				t.Fatalf("message %d: %q, %v", i, out.Value, err)
			}
		}
	}
	for range 100 {
		exchange(1)
	}
	exchange(1000)
	cancel()
	if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Canceled {
		t.Errorf("behind the break: %v", err)
	}
}
