package config

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/invopop/jsonschema"
)

// Schema returns the JSON Schema (draft 2020-12) of the configuration file,
// indented. It knows keys and shapes; what Load checks beyond them it does not.
func Schema() ([]byte, error) {
	s := reflector().Reflect(&document{})
	s.Title = "Outwarden configuration"
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return append(data, '\n'), nil
}

func reflector() *jsonschema.Reflector {
	return &jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		RequiredFromJSONSchemaTags: true,
	}
}

// schemaOf is the schema of T as a part of another.
func schemaOf[T any]() *jsonschema.Schema {
	s := reflector().ReflectFromType(reflect.TypeFor[T]())
	s.Version = ""
	return s
}

// JSONSchema describes the value in the schema.
func (text) JSONSchema() *jsonschema.Schema { return &jsonschema.Schema{Type: "string"} }

// JSONSchema describes the value in the schema.
func (number) JSONSchema() *jsonschema.Schema { return &jsonschema.Schema{Type: "integer"} }

// JSONSchema describes the value in the schema.
func (toggle) JSONSchema() *jsonschema.Schema { return &jsonschema.Schema{Type: "boolean"} }

// JSONSchema describes the value in the schema.
func (size) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "integer"}, {Type: "string", Pattern: `^[0-9]+ ?([kKMG]?B|[KMG]iB)?$`},
	}}
}

// JSONSchema describes the value in the schema.
func (span) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`}
}

// JSONSchema says that the key must not stand there.
func (later) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Not: &jsonschema.Schema{}, Description: "not supported yet"}
}

// JSONSchema describes one value or a list of them.
func (list[T]) JSONSchema() *jsonschema.Schema {
	one := uint64(1)
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		schemaOf[T](), {Type: "array", Items: schemaOf[T](), MinItems: &one},
	}}
}

// JSONSchema describes a mapping from free names.
func (named[T]) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", AdditionalProperties: schemaOf[T]()}
}
