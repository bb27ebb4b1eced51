package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

type nodeKind uint8

const (
	nodeNull nodeKind = iota
	nodeScalar
	nodeMapping
	nodeSequence
)

// node is YAML without what configuration does not use: anchors, aliases, tags
// and merge keys are refused, so what stands in the file is all there is.
type node struct {
	kind    nodeKind
	at      Position
	value   string // scalar, unquoted
	plain   bool   // scalar that was written without quotes
	entries []entry
	items   []*node
}

type entry struct {
	key   *node
	value *node
}

const (
	maxFile  = 16 << 20 // bytes of one file
	maxDepth = 64       // of mappings and sequences; the format needs eight
	maxOpen  = 10_000   // lines of the mappings that are open at a time
)

// parseTree reads one document. A nil node means that it could not be read, and
// the reason is in the report.
func parseTree(r *report, file string, data []byte) *node {
	at := Position{File: file}
	if len(data) > maxFile {
		r.fail(at, "", "file is larger than %d bytes", maxFile)
		return nil
	}
	if line, column := notUTF8(data); line > 0 {
		r.fail(Position{file, line, column}, "save it as UTF-8", "file is not UTF-8")
		return nil
	}
	if line, why := tooMuch(data); line > 0 {
		r.fail(Position{file, line, 1}, "", "%s", why)
		return nil
	}
	tree, err := parseYAML(data)
	if err != nil {
		at, message := syntaxError(file, err)
		r.fail(at, "this is no YAML: see how this line and the one before are indented and quoted", "%s", message)
		return nil
	}
	if len(tree.Docs) > 1 {
		r.fail(position(file, tree.Docs[1].Start), "write one document in each file", "file holds more than one document")
		return nil
	}
	b := treeBuilder{r, file}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return &node{at: Position{file, 1, 1}}
	}
	return b.node(tree.Docs[0].Body, 0)
}

// byteOrderMark may begin a YAML file; the parser takes it for a part of the first key.
const byteOrderMark = "\ufeff"

// parseYAML keeps a defect of the parser from ending the process.
func parseYAML(data []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not readable as YAML: %v", r)
		}
	}()
	return parser.ParseBytes(bytes.TrimPrefix(data, []byte(byteOrderMark)), 0, parser.AllowDuplicateMapKey())
}

// syntaxError takes the place and the message, but not the line of the file,
// which could hold a secret.
func syntaxError(file string, err error) (Position, string) {
	var positioned yaml.Error
	if !errors.As(err, &positioned) {
		return Position{File: file}, err.Error()
	}
	return position(file, positioned.GetToken()), withoutQuoted(positioned.GetMessage())
}

// withoutQuoted takes out what a message repeats of the file.
func withoutQuoted(message string) string {
	first, last := strings.IndexByte(message, '"'), strings.LastIndexByte(message, '"')
	if first == last {
		return message
	}
	return message[:first] + "…" + message[last+1:]
}

func position(file string, tk *token.Token) Position {
	if tk == nil || tk.Position == nil {
		return Position{File: file}
	}
	return Position{file, tk.Position.Line, tk.Position.Column}
}

type treeBuilder struct {
	*report
	file string
}

func (b treeBuilder) node(n ast.Node, depth int) *node {
	if n == nil {
		return &node{}
	}
	at := position(b.file, n.GetToken())
	if depth > maxDepth {
		b.fail(at, "", "mappings or lists are nested more than %d deep", maxDepth)
		return nil
	}
	switch n := n.(type) {
	case *ast.NullNode:
		return &node{at: at}
	case *ast.StringNode:
		return &node{kind: nodeScalar, at: at, value: n.Value, plain: n.Token.Type == token.StringType}
	case *ast.LiteralNode:
		return &node{kind: nodeScalar, at: at, value: n.Value.Value}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return &node{kind: nodeScalar, at: at, value: n.GetToken().Value, plain: true}
	case *ast.MappingNode:
		return b.mapping(at, n.Values, depth)
	case *ast.MappingValueNode:
		return b.mapping(at, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		return b.sequence(at, n.Values, depth)
	}
	b.fail(at, "write it out in plain YAML", "anchors, aliases, tags and merge keys are not read here")
	return nil
}

func (b treeBuilder) sequence(at Position, values []ast.Node, depth int) *node {
	seq := &node{kind: nodeSequence, at: at}
	for _, value := range values {
		if item := b.node(value, depth+1); item != nil {
			seq.items = append(seq.items, item)
		}
	}
	return seq
}

func (b treeBuilder) mapping(at Position, values []*ast.MappingValueNode, depth int) *node {
	m := &node{kind: nodeMapping, at: at}
	seen := map[string]Position{}
	for _, value := range values {
		key := b.node(value.Key, depth+1)
		if key == nil {
			continue
		}
		if key.kind != nodeScalar {
			b.fail(position(b.file, value.GetToken()), "", "a key must be a plain word")
			continue
		}
		if first, ok := seen[key.value]; ok {
			b.fail(key.at, "", "key %q stands here twice, first in line %d", key.value, first.Line)
			continue
		}
		seen[key.value] = key.at
		if v := b.node(value.Value, depth+1); v != nil {
			if v.at.IsZero() {
				v.at = key.at
			}
			m.entries = append(m.entries, entry{key, v})
		}
	}
	if len(values) > 0 && len(m.entries) > 0 {
		m.at = m.entries[0].key.at
	}
	return m
}
