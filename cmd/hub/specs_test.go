package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"wshub/pubsub/redistest/drills"
)

// spec is a document with schemas, which real traffic is held to.
type spec struct {
	path string
	doc  map[string]any

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by pointer
}

const (
	openAPIPath  = "openapi.yaml"
	asyncAPIPath = "../../session/hubv1/asyncapi.yaml"
	specURL      = "https://wshub.invalid/spec.json"
)

// theOpenAPI and theAsyncAPI are the two documents, read once.
var (
	theOpenAPI  = sync.OnceValue(func() *spec { return readSpec(openAPIPath, jsonschema.Draft2020) })
	theAsyncAPI = sync.OnceValue(func() *spec { return readSpec(asyncAPIPath, jsonschema.Draft7) })
)

// readSpec panics if there is no such document.
func readSpec(path string, draft *jsonschema.Draft) *spec {
	text, err := os.ReadFile(path)
	var doc any
	if err == nil {
		err = yaml.Unmarshal(text, &doc)
	}
	if err == nil {
		text, err = json.Marshal(doc)
	}
	if err == nil {
		doc, err = jsonschema.UnmarshalJSON(bytes.NewReader(text))
	}
	s := &spec{path: path, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	s.compiler.DefaultDraft(draft)
	if s.doc, _ = doc.(map[string]any); err == nil {
		closeObjects(doc)
		err = s.compiler.AddResource(specURL, doc)
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", path, err))
	}
	return s
}

// closeObjects has schemas of objects allow no member that they do not name: the documents leave room for members to come,
// and a test must not.
func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		_, named := node["properties"].(map[string]any)
		_, said := node["additionalProperties"]
		if named && !said && node["type"] == "object" {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

// at is what a pointer such as /components/schemas leads to, nil if nothing. References on the way are followed, and where
// is the pointer without them.
func (s *spec) at(pointer string) (node any, where string) {
	node = s.doc
	for _, name := range strings.Split(pointer, "/")[1:] {
		object, _ := node.(map[string]any)
		if node = object[unescaped(name)]; node == nil {
			return nil, ""
		}
		where += "/" + name
		if object, _ = node.(map[string]any); object["$ref"] != nil && len(object) == 1 {
			node, where = s.at(strings.TrimPrefix(object["$ref"].(string), "#"))
		}
	}
	return node, where
}

// object is at, of an object or nil.
func (s *spec) object(pointer string) map[string]any {
	node, _ := s.at(pointer)
	object, _ := node.(map[string]any)
	return object
}

func escaped(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
}

func unescaped(name string) string {
	return strings.NewReplacer("~1", "/", "~0", "~", "%7B", "{", "%7D", "}").Replace(name)
}

// check says why the JSON text does not fit the schema at a pointer.
func (s *spec) check(pointer string, text []byte) error {
	_, where := s.at(pointer)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%.200q is no JSON: %w", text, err)
	}
	s.mu.Lock()
	schema := s.schemas[where]
	if schema == nil {
		if schema, err = s.compiler.Compile(specURL + "#" + where); err == nil {
			s.schemas[where] = schema
		}
	}
	s.mu.Unlock()
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		return fmt.Errorf("%s, %s: %.300s: %w", s.path, unescaped(where), text, err)
	}
	return nil
}

// walk visits all objects of a document.
func walk(node any, visit func(object map[string]any)) {
	switch node := node.(type) {
	case map[string]any:
		visit(node)
		for _, name := range slices.Sorted(maps.Keys(node)) {
			walk(node[name], visit)
		}
	case []any:
		for _, child := range node {
			walk(child, visit)
		}
	}
}

func TestReferencesOfTheDocumentsLeadSomewhere(t *testing.T) {
	for _, s := range []*spec{theOpenAPI(), theAsyncAPI()} {
		n := 0
		walk(s.doc, func(object map[string]any) {
			if ref, ok := object["$ref"].(string); ok {
				n++
				if node, _ := s.at(strings.TrimPrefix(ref, "#")); node == nil {
					t.Errorf("%s: nothing is at %s", s.path, ref)
				}
			}
		})
		if n == 0 {
			t.Errorf("%s has no reference", s.path)
		}
	}
}

// TestTheDocumentsKeepTheRulesOfTheirKind has others' programs look at them, as OpenAPI 3.1 and AsyncAPI 3.0.
func TestTheDocumentsKeepTheRulesOfTheirKind(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	needTool(t, "validate-api")
	out, err := exec.Command("node", "testdata/specs.mjs", openAPIPath, asyncAPIPath).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
