package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpctls "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outwarden/outwarden/pkg/policy"
)

// chat echoes a stream of strings and ends with trailers; its other methods end
// with a status alone.
var chat = grpc.ServiceDesc{
	ServiceName: "test.Chat", HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{
		{StreamName: "Echo", Handler: echo, ServerStreams: true, ClientStreams: true},
		{StreamName: "Refuse", Handler: refuse, ServerStreams: true, ClientStreams: true},
	},
}

func echo(_ any, s grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	_ = s.SendHeader(metadata.Pairs("saw", md["authorization"][0]))
	s.SetTrailer(metadata.Pairs("sum", "done", "blob-bin", "\x00\xff"))
	for {
		var m wrapperspb.StringValue
		if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(&m); err != nil {
			return err
		}
	}
}

func refuse(any, grpc.ServerStream) error { return status.Error(codes.FailedPrecondition, "not today") }

// TestGRPC is C11 for grpc-go on both ends: header before the first message,
// streams both ways at once, trailers, and a status without any message.
func TestGRPC(t *testing.T) {
	w := newWorld(t)
	w.use(policy.Intercept, w.partnerRoute())
	client := w.chat()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	stream, err := client.NewStream(ctx, &chat.Streams[0], "/test.Chat/Echo")
	must(t, err)
	if head, err := stream.Header(); err != nil || head["saw"][0] != "Bearer "+canary {
		t.Fatalf("header %v, %v", head, err)
	}
	for _, text := range []string{"one", "two", "three"} {
		must(t, stream.SendMsg(wrapperspb.String(text)))
		var back wrapperspb.StringValue
		must(t, stream.RecvMsg(&back))
		if back.Value != text {
			t.Errorf("%q came back as %q", text, back.Value)
		}
	}
	must(t, stream.CloseSend())
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if tr := stream.Trailer(); tr["sum"][0] != "done" || tr["blob-bin"][0] != "\x00\xff" {
		t.Errorf("trailer %v", tr)
	}

	refused, err := client.NewStream(ctx, &chat.Streams[1], "/test.Chat/Refuse")
	must(t, err)
	if err := refused.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "not today" {
		t.Errorf("status %v", err)
	}
	if r := w.awaitKind("request", 2)[0]; r.Status != 200 || r.Upstream.ALPN != "h2" || len(r.Credentials) != 1 {
		t.Errorf("record %+v", r)
	}
}

// chat starts a server, and gives a client of it behind the interceptor.
func (w *world) chat() *grpc.ClientConn {
	t := w.t
	t.Helper()
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	server := grpc.NewServer(grpc.Creds(grpctls.NewTLS(serving(w.partner.leaf(t, []string{host})))))
	server.RegisterService(&chat, struct{}{})
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(server.Stop)

	original := netip.MustParseAddrPort(ln.Addr().String())
	client, err := grpc.NewClient("passthrough:///"+host+":"+ln.Addr().String()[len("127.0.0.1:"):],
		grpc.WithTransportCredentials(grpctls.NewTLS(&tls.Config{RootCAs: w.roots(), ServerName: host})),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return w.dial(as{original: original}), nil }))
	must(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// TestScrubbedGRPC: messages keep their lengths, so that they can still be parsed,
// and none waits for the next.
func TestScrubbedGRPC(t *testing.T) {
	w := newWorld(t)
	w.use(policy.Intercept, w.scrubbedRoute())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := w.chat().NewStream(ctx, &chat.Streams[0], "/test.Chat/Echo")
	must(t, err)
	if head, err := stream.Header(); err != nil || head["saw"][0] != "Bearer [redacted:token]" {
		t.Fatalf("header %v, %v", head, err)
	}
	for text, want := range map[string]string{"one": "one", "it is " + canary + "!": "it is [redacted:token]*!", "canary-5e7c": "canary-5e7c", "": ""} {
		must(t, stream.SendMsg(wrapperspb.String(text)))
		var back wrapperspb.StringValue
		must(t, stream.RecvMsg(&back))
		if back.Value != want {
			t.Errorf("%q came back as %q", text, back.Value)
		}
	}
	must(t, stream.CloseSend())
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if r := w.request(); len(r.Scrubbed) != 1 || r.Scrubbed[0].Count != 2 {
		t.Errorf("record %+v", r)
	}
}
