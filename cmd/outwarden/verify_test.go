package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

const signedBody = `{"amount":100}`

// writeSigned makes requests that scripts verify.
func writeSigned(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	at := time.Unix(1_700_000_000, 0)
	files := map[string]string{"key": "the key\n", "other": "another\n"}
	for _, make := range []func(map[string]string, time.Time) error{signHMAC, signGitHub, signMessage, signAWS} {
		if err := make(files, at); err != nil {
			return err
		}
	}
	files["changed.http"] = strings.Replace(files["knoxcall.http"], "100", "900", 1)
	files["lf.http"] = strings.ReplaceAll(files["github.http"], "\r\n", "\n")
	files["two.http"] = files["github.http"] + files["github.http"]
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func rawRequest(target string, fields ...[2]string) string {
	text := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: api.partner.example\r\nContent-Length: %d\r\n", target, len(signedBody))
	for _, f := range fields {
		text += f[0] + ": " + f[1] + "\r\n"
	}
	return text + "\r\n" + signedBody
}

func signTemplate(preset string, at time.Time, nonce string) (string, error) {
	scheme, err := hmacsig.TemplatePreset(preset)
	if err != nil {
		return "", err
	}
	m := hmacsig.Message{Method: "POST", Target: "/v1?a=1", Time: at, Nonce: nonce, Body: strings.NewReader(signedBody)}
	headers, err := scheme.Sign([]byte("the key"), &m)
	var fields [][2]string
	for _, h := range headers {
		fields = append(fields, [2]string{h.Name, h.Value})
	}
	return rawRequest("/v1?a=1", fields...), err
}

func signHMAC(files map[string]string, at time.Time) (err error) {
	early := time.Unix(1_699_990_061, 0) // the first moment that a journal begun a minute before accepts
	for name, when := range map[string]time.Time{"knoxcall": at, "early": early, "early2": early} {
		if files[name+".http"], err = signTemplate("knoxcall", when, hmacsig.NewNonce()); err != nil {
			return err
		}
	}
	return nil
}

func signGitHub(files map[string]string, at time.Time) (err error) {
	files["github.http"], err = signTemplate("github", at, "")
	return err
}

func signMessage(files map[string]string, at time.Time) error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return err
	}
	files["public.pem"] = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	key, err := httpsig.PrivateKey("k1", httpsig.Ed25519, private)
	if err != nil {
		return err
	}
	digest, err := httpsig.Digest([]byte(signedBody), "sha-256")
	if err != nil {
		return err
	}
	components, err := httpsig.Components("@method", "@target-uri", "content-digest")
	if err != nil {
		return err
	}
	m := httpsig.Message{Method: "POST", Authority: "api.partner.example", Target: "/v1", Fields: []httpsig.Field{{Name: "Content-Digest", Value: digest}}}
	fields, err := (&httpsig.Signer{Label: "sig1", Key: key, Components: components}).Sign(&m, httpsig.Params{Created: at})
	if err != nil {
		return err
	}
	text := [][2]string{{"Content-Digest", digest}, {"Content-Type", "application/json"}}
	for _, f := range fields {
		text = append(text, [2]string{f.Name, f.Value})
	}
	files["httpsig.http"] = rawRequest("/v1", text...)
	return nil
}

func signAWS(files map[string]string, at time.Time) error {
	s := sigv4.Signer{
		Credentials: sigv4.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretKey: secret.New([]byte("the key"))},
		Region:      "eu-west-1", Service: "execute-api",
	}
	r := sigv4.Request{Method: "POST", Target: "/v1", Fields: []sigv4.Field{{Name: "Host", Value: "api.partner.example"}}}
	got, err := s.Sign(&r, fmt.Sprintf("%x", sha256.Sum256([]byte(signedBody))), at)
	var text [][2]string
	for _, f := range got.Set {
		text = append(text, [2]string{f.Name, f.Value})
	}
	files["sigv4.http"] = rawRequest("/v1", text...)
	return err
}
