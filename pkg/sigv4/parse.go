package sigv4

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Authorization is the signature that a request arrived with.
type Authorization struct {
	AccessKeyID string
	Scope       Scope
	Names       []string // signed fields, lower case, sorted
	Signature   string   // 64 lower-case hex digits
	Time        time.Time
	Token       string // session token, "" if none
	Payload     string // value of x-amz-content-sha256, "" if the request has none
	Presigned   bool
	Expires     time.Duration // of a presigned URL
}

// Parse reads the signature of r from its header or its query. It returns
// ErrUnsigned, ErrSigV4A, ErrAlgorithm or ErrMalformed; the last also for a
// request that is signed twice, since two readers could pick two signatures.
func Parse(r *Request) (Authorization, error) {
	presigned := bareTarget(r) != r.Target
	switch n := r.count("authorization"); {
	case n > 1:
		return Authorization{}, ErrMalformed
	case n == 1 && presigned:
		return Authorization{}, ErrMalformed
	case n == 1:
		return parseHeader(r)
	case presigned:
		return parseQuery(r)
	}
	return Authorization{}, ErrUnsigned
}

func parseHeader(r *Request) (Authorization, error) {
	a := Authorization{}
	kind, rest, _ := strings.Cut(r.get("authorization"), " ")
	if err := checkAlgorithm(kind); err != nil {
		return a, err
	}
	var credential, names string
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.Trim(part, " \t"), "=")
		to := map[string]*string{"Credential": &credential, "SignedHeaders": &names, "Signature": &a.Signature}[name]
		if to == nil || *to != "" || value == "" {
			return a, ErrMalformed
		}
		*to = value
	}
	for _, once := range [...]string{"x-amz-date", "date", "x-amz-content-sha256", "x-amz-security-token"} {
		if r.count(once) > 1 {
			return a, ErrMalformed
		}
	}
	a.Token, a.Payload = r.get("x-amz-security-token"), r.get("x-amz-content-sha256")
	return a, a.fill(credential, names, requestTime(r))
}

// requestTime is X-Amz-Date, or Date in that format where there is no other.
func requestTime(r *Request) string {
	if r.count("x-amz-date") > 0 {
		return r.get("x-amz-date")
	}
	date := r.get("date")
	if t, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", date); err == nil {
		return t.UTC().Format(timeFormat)
	}
	return date
}

func parseQuery(r *Request) (Authorization, error) {
	a := Authorization{Presigned: true}
	var kind, credential, date, names, expires string
	values := map[string]*string{
		"X-Amz-Algorithm": &kind, "X-Amz-Credential": &credential, "X-Amz-Date": &date, "X-Amz-SignedHeaders": &names,
		"X-Amz-Expires": &expires, "X-Amz-Security-Token": &a.Token, "X-Amz-Signature": &a.Signature,
		"X-Amz-Content-Sha256": &a.Payload,
	}
	for piece := range strings.SplitSeq(r.query(), "&") {
		name, value, _ := strings.Cut(piece, "=")
		if name = decode(name); !isAuth(name) && name != "X-Amz-Content-Sha256" {
			continue
		}
		to := values[name]
		if to == nil || *to != "" || value == "" {
			return a, ErrMalformed
		}
		*to = decode(value)
	}
	if err := checkAlgorithm(kind); err != nil {
		return a, err
	}
	if a.Payload == "" && r.count("x-amz-content-sha256") == 1 {
		a.Payload = r.get("x-amz-content-sha256")
	}
	seconds, err := strconv.ParseUint(expires, 10, 32)
	if a.Expires = time.Duration(seconds) * time.Second; err != nil || a.Expires < time.Second || a.Expires > MaxExpires {
		return a, ErrMalformed
	}
	return a, a.fill(credential, names, date)
}

func checkAlgorithm(kind string) error {
	switch kind {
	case algorithm:
		return nil
	case algorithm4A:
		return ErrSigV4A
	}
	return ErrAlgorithm
}

// fill checks and sets what header and query have in common.
func (a *Authorization) fill(credential, names, date string) error {
	parts := strings.Split(credential, "/")
	n := len(parts) - 4 // an access key id may have slashes
	if n < 1 || parts[n+3] != terminator {
		return ErrMalformed
	}
	a.AccessKeyID = strings.Join(parts[:n], "/")
	a.Scope = Scope{parts[n], parts[n+1], parts[n+2]}
	a.Names = strings.Split(names, ";")
	var err error
	a.Time, err = time.Parse(timeFormat, date)
	switch {
	case err != nil, a.AccessKeyID == "", !a.Scope.valid(), !lowerHex64(a.Signature),
		a.Time.Format(dayFormat) != a.Scope.Day, !a.namesValid():
		return ErrMalformed
	}
	if a.Payload == "" {
		return nil
	}
	return CheckPayload(a.Payload)
}

// mostNames is how many fields a signature may cover. Each is looked for among all.
const mostNames = 256

// namesValid: lower case, in order, none twice, Host among them, and not too many.
func (a *Authorization) namesValid() bool {
	if len(a.Names) > mostNames {
		return false
	}
	for i, name := range a.Names {
		if name == "" || name != strings.ToLower(name) || i > 0 && a.Names[i-1] >= name {
			return false
		}
	}
	return slices.Contains(a.Names, "host")
}

// CheckTime returns ErrEarly or ErrExpired if now is not within the time that
// the signature is good for: skew before and after its own time (AWS: 15
// minutes), or a presigned URL's life with skew before it.
func (a *Authorization) CheckTime(now time.Time, skew time.Duration) error {
	life := skew
	if a.Presigned {
		life = a.Expires
	}
	switch {
	case a.Time.After(now.Add(skew)):
		return ErrEarly
	case now.After(a.Time.Add(life)):
		return ErrExpired
	}
	return nil
}
