// Package sigv4 signs and verifies requests with AWS Signature Version 4, in
// the header, in the query (presigned URL) and chunk by chunk in a body that is
// aws-chunked. It is pure: no clock, no network, and it changes no request; it
// returns what is to be set.
//
// The rules are those of the AWS documentation, "Create a signed AWS API
// request" (General Reference) and "Authenticating Requests" (Amazon S3 API
// Reference). Two families differ in one rule, the canonical path:
//
//   - S3 (s3, s3express, s3-object-lambda, s3-outposts): encoded once and never
//     normalised. "/a//b/../c" stays so; what arrives encoded is not encoded again.
//   - all others: dot segments and repeated slashes go, and each segment is
//     encoded once more than it arrives: "/a%20b" is signed as "/a%2520b".
//
// The query is the same for both: each name and value is decoded ("+" is a
// space) and encoded anew, then sorted by name and by value. Only the canonical
// form is sorted; the target that is sent keeps its order.
//
// Chunks. With STREAMING-AWS4-HMAC-SHA256-PAYLOAD the request's signature seeds
// a chain: each chunk's signature covers the one before. Resigner replaces the
// signatures of a passing body and nothing else, so that its length and its
// framing stay; a chunk's signature comes before its bytes on the wire, so it
// holds one chunk. Decoder and Encoder together cut the body anew for senders
// whose chunks are too long for that.
//
// Traps.
//   - Sign last. Whatever changes after Sign breaks the signature.
//   - Fields that a hop may change are never signed, whatever Signer.Covers says:
//     Connection, Transfer-Encoding, Expect, User-Agent, X-Amzn-Trace-Id and others.
//   - A body hash that the request names is not a hash of the body. Verify
//     compares the two only when it is told the body's own.
//   - A Decoder hands bytes on before their chunk is verified; drop them on an error.
//   - SigV4A (AWS4-ECDSA-P256-SHA256) is recognised and refused with ErrSigV4A.
//   - Whether a time lies in a window and whether a signature was seen before is
//     for the caller (Authorization.CheckTime, package replay).
package sigv4
