// s3client is an S3 client as programs have one: an SDK and nothing else.
//
//	s3client ENDPOINT BUCKET KEY FILE     sends FILE in one request, and prints how the SDK covered the content
//	s3client ENDPOINT BUCKET KEY          prints a presigned URL of the object
//
// ENDPOINT is a URL, and with http: the SDK signs the content chunk by chunk. The keys
// are those of the environment.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "s3client:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: s3client ENDPOINT BUCKET KEY [FILE]")
	}
	endpoint, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewEnvAWS(), Secure: endpoint.Scheme == "https", Region: "us-east-1",
		Transport: telling{http.DefaultTransport},
	})
	if err != nil {
		return err
	}
	if len(args) == 3 {
		u, err := client.PresignedGetObject(context.Background(), args[1], args[2], time.Minute, nil)
		fmt.Println(u)
		return err
	}
	return put(client, args[1], args[2], args[3])
}

func put(client *minio.Client, bucket, key, file string) error {
	body, err := os.Open(file)
	if err != nil {
		return err
	}
	defer body.Close()
	info, err := body.Stat()
	if err != nil {
		return err
	}
	o := minio.PutObjectOptions{DisableMultipart: true, ContentType: "application/octet-stream"}
	_, err = client.PutObject(context.Background(), bucket, key, body, info.Size(), o)
	return err
}

// telling prints what the SDK says of the content.
type telling struct{ to http.RoundTripper }

func (t telling) RoundTrip(r *http.Request) (*http.Response, error) {
	fmt.Println(r.Header.Get("X-Amz-Content-Sha256"))
	return t.to.RoundTrip(r)
}
