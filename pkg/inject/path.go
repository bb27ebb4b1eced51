package inject

import (
	"fmt"
	"slices"
	"strings"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/secret"
)

// pathSegment is one segment of the path, counted from 1, and what stands there.
type pathSegment struct {
	at    int
	value secret.Value // escaped, with its prefix
}

// addPath claims a segment. Policy has matched the path with what the workload had
// in its place.
func (p *Plan) addPath(c *Credential) error {
	value := append([]byte(c.Prefix), escape(nil, c.Value.Reveal())...)
	switch {
	case c.Segment < 1:
		return fmt.Errorf("path segments count from 1: %w", ErrField)
	case strings.Trim(c.Prefix, pathPrefix) != "":
		return fmt.Errorf("prefix has what a path must escape: %w", ErrValue)
	case string(value) == "." || string(value) == "..":
		return fmt.Errorf("a dot segment: %w", ErrValue)
	}
	for _, s := range p.segments {
		if s.at == c.Segment {
			return fmt.Errorf("path segment %d: %w", c.Segment, ErrSlotTaken)
		}
	}
	p.segments = append(p.segments, pathSegment{c.Segment, secret.New(value)})
	return nil
}

const pathPrefix = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:@"

// injectPath puts the credentials in the place of the workload's segments. None up to
// there may be empty: a server that merges slashes would count otherwise.
func (p *Plan) injectPath(m Message) error {
	target := m.Target()
	if err := checkTarget(target); err != nil {
		return err
	}
	path, query, asked := strings.Cut(target, "?")
	segments := strings.Split(path[1:], "/")
	for _, s := range p.segments {
		if s.at > len(segments) || slices.Contains(segments[:s.at], "") {
			return fmt.Errorf("the path has no segment %d for the credential: %w", s.at, flow.ReasonBadRequest)
		}
		segments[s.at-1] = string(s.value.Reveal())
	}
	edited := "/" + strings.Join(segments, "/")
	if asked {
		edited += "?" + query
	}
	m.SetTarget([]byte(edited))
	return nil
}
