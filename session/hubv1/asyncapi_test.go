package hubv1

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The tests here compare words: those of asyncapi.yaml with those of the source. That real messages fit the document's
// schemas is tested where there is a whole hub, in cmd/hub.

// document is asyncapi.yaml, as far as it is compared.
type document struct {
	Channels struct {
		Hub struct {
			Description string
		}
	}
	Operations map[string]struct {
		Action   string
		Messages []reference
		Reply    struct{ Messages []reference }
	}
	Components struct {
		Messages map[string]struct{ Payload schema }
		Schemas  struct {
			Code struct {
				Description string
				Enum        []string
			}
		}
	}
}

type reference struct {
	Ref string `yaml:"$ref"`
}

type schema struct {
	Const                any
	Properties           map[string]schema
	Items                *schema
	AdditionalProperties *schema  `yaml:"additionalProperties"`
	OneOf                []schema `yaml:"oneOf"`
}

func readDocument(t *testing.T) (d document) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, "asyncapi.yaml")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// messages are the types and members of what clients say, or of what they hear.
func (d *document) messages(said bool) (types, members []string) {
	for _, op := range d.Operations {
		var list []reference
		if (op.Action == "receive") == said {
			list = op.Messages
		}
		if !said {
			list = append(list, op.Reply.Messages...)
		}
		for _, ref := range list {
			payload := d.Components.Messages[ref.Ref[strings.LastIndexByte(ref.Ref, '/')+1:]].Payload
			types = append(types, fmt.Sprint(payload.Properties["type"].Const))
			members = append(members, payload.names()...)
		}
	}
	return types, members
}

// names are the members of a schema, those within members too.
func (s *schema) names() (all []string) {
	if s == nil {
		return nil
	}
	for name, p := range s.Properties {
		all = append(append(all, name), p.names()...)
	}
	for _, one := range s.OneOf {
		all = append(all, one.names()...)
	}
	return append(append(all, s.Items.names()...), s.AdditionalProperties.names()...)
}

// same fails for each word that is in the code or in the document alone.
func same(t *testing.T, what string, inCode, inDocument []string) {
	t.Helper()
	if len(inCode) == 0 || len(inDocument) == 0 {
		t.Fatalf("%s: %d in the code, %d in asyncapi.yaml", what, len(inCode), len(inDocument))
	}
	for _, word := range inCode {
		if !slices.Contains(inDocument, word) {
			t.Errorf("asyncapi.yaml has no %s %q, and the code has: add it there", what, word)
		}
	}
	for _, word := range inDocument {
		if !slices.Contains(inCode, word) {
			t.Errorf("asyncapi.yaml has the %s %q, which the code has not", what, word)
		}
	}
}

func TestTheDocumentHasWhatClientsMaySay(t *testing.T) {
	d := readDocument(t)
	types, members := d.messages(true)
	same(t, "request", kinds, types)
	var read []string
	for f := range reflect.TypeFor[request]().Fields() {
		switch f.Name {
		case "kind":
			read = append(read, "type")
		case "unknown":
		default:
			read = append(read, f.Name)
		}
	}
	same(t, "member of requests", read, members)
}

func TestTheDocumentHasWhatTheHubSays(t *testing.T) {
	text := read(t, "encode.go") + read(t, "hubv1.go") + read(t, "requests.go") + read(t, "presence.go")
	types, members := map[string]bool{}, map[string]bool{}
	for _, literal := range regexp.MustCompile("`[^`]*`").FindAllString(text, -1) {
		if strings.Contains(literal, "as in") { // an example in a text for people
			continue
		}
		for _, m := range regexp.MustCompile("^`"+`\{"type":"(\w+)"`).FindAllStringSubmatch(literal, -1) {
			types[m[1]] = true
		}
		for _, m := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(literal, -1) {
			members[m[1]] = true
		}
	}
	d := readDocument(t)
	saidTypes, saidMembers := d.messages(false)
	same(t, "message", slices.Collect(maps.Keys(types)), saidTypes)
	same(t, "member of messages", slices.Collect(maps.Keys(members)), saidMembers)
}

func TestTheDocumentHasEveryErrorCode(t *testing.T) {
	codes := regexp.MustCompile(`(?m)^\s+\w+\s+Code\s+= ("\w+")`).FindAllStringSubmatch(read(t, "../errors.go"), -1)
	var inCode []string
	for _, m := range codes {
		inCode = append(inCode, strings.Trim(m[1], `"`))
	}
	d := readDocument(t)
	code := d.Components.Schemas.Code
	same(t, "error code", inCode, code.Enum)
	same(t, "row for the error code", code.Enum, firstColumn(code.Description, `^\| `+"`"+`(\w+)`+"`"+` \| `))
}

func TestTheDocumentHasEveryCloseCode(t *testing.T) {
	var inCode []string
	cause := regexp.MustCompile(`&(?:engine\.)?Cause\{(?:Name: )?"(\w+)", (?:Code: )?(\d+)`)
	for _, m := range cause.FindAllStringSubmatch(read(t, "../../engine/stats.go")+read(t, "../errors.go"), -1) {
		inCode = append(inCode, "| "+m[2]+" | `"+m[1]+"`")
	}
	d := readDocument(t)
	same(t, "row for the close code", inCode, firstColumn(d.Channels.Hub.Description, `^(\| \d+ \| `+"`"+`\w+`+"`"+`) \| `))
}

// firstColumn is what pattern takes of each line.
func firstColumn(text, pattern string) (column []string) {
	for _, m := range regexp.MustCompile(`(?m)`+pattern).FindAllStringSubmatch(text, -1) {
		column = append(column, m[1])
	}
	return column
}
