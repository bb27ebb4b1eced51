// Package rpc is the rig's gRPC service, as its client and its origin know it:
// bench.Echo with Call, which returns its message; Chat, which returns each
// message of a stream; and Seen, which tells the credential that came.
package rpc

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Full names of the methods.
const (
	Call = "/bench.Echo/Call"
	Chat = "/bench.Echo/Chat"
	Seen = "/bench.Echo/Seen"
)

// Message is what all methods take and return.
type Message = wrapperspb.BytesValue

// Stream describes Chat to a client.
func Stream() *grpc.StreamDesc {
	return &grpc.StreamDesc{StreamName: "Chat", Handler: chat, ServerStreams: true, ClientStreams: true}
}

// Register adds the service to a server.
func Register(s *grpc.Server) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Call", Handler: unary(func(_ context.Context, m any) (any, error) { return m, nil })},
			{MethodName: "Seen", Handler: unary(func(ctx context.Context, _ any) (any, error) {
				return &Message{Value: []byte(Authorization(ctx))}, nil
			})},
		},
		Streams: []grpc.StreamDesc{*Stream()},
	}, struct{}{})
}

// Authorization is the credential that came with a call; "": none.
func Authorization(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("authorization"); len(v) == 1 {
		return v[0]
	}
	return ""
}

// unary is a method as generated code would have it.
func unary(answer grpc.UnaryHandler) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, guard grpc.UnaryServerInterceptor) (any, error) {
		var m Message
		if err := decode(&m); err != nil {
			return nil, err
		}
		return guard(ctx, &m, nil, answer)
	}
}

func chat(_ any, s grpc.ServerStream) error {
	for {
		var m Message
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
