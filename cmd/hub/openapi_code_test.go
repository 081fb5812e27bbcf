package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// inCode is a word of the source, and where it stands.
type inCode struct{ value, at string }

// controlCode is what the source of the control port shows that openapi.yaml must know. Centrifugo's API has a document
// of its own, so its members are left out.
type controlCode struct {
	t       *testing.T
	files   *token.FileSet
	codes   map[string]string // of package session, by constant
	routes  []inCode          // patterns
	errors  []inCode          // status and code
	members []inCode          // JSON members of requests and answers
}

func codeOf(t *testing.T) *controlCode {
	t.Helper()
	c := &controlCode{t: t, files: token.NewFileSet(), codes: map[string]string{}}
	for _, m := range regexp.MustCompile(`(?m)^\s+(\w+)\s+Code = "(\w+)"`).FindAllStringSubmatch(aligned(read(t, "../../session/errors.go")), -1) {
		c.codes[m[1]] = m[2]
	}
	paths, err := filepath.Glob("*.go")
	if err != nil || len(c.codes) == 0 {
		t.Fatal(err, "no codes")
	}
	// Looks show these as they stand.
	paths = append(paths, "../../session/views.go", "../../session/busy.go", "../../session/topicviews.go", "../../session/tracing.go", "../../session/reasons/reasons.go")
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(c.files, path, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			c.visit(n, !strings.HasPrefix(path, "centrifugo") && !strings.HasPrefix(path, "pusher")) // of which others document the members
			return true
		})
	}
	return c
}

// isMux tells a route from a question of package fleet.
func isMux(e ast.Expr) bool {
	name, ok := e.(*ast.Ident)
	return ok && name.Name == "mux"
}

// aligned has single blanks only.
func aligned(text string) string { return regexp.MustCompile(` +`).ReplaceAllString(text, " ") }

func (c *controlCode) visit(n ast.Node, withMembers bool) {
	switch n := n.(type) {
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "Handle" || f.Sel.Name == "HandleFunc") && len(n.Args) == 2 && isMux(f.X) {
			c.routes = append(c.routes, inCode{c.text(n.Args[0]), c.at(n)})
		}
		if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "badRequest" {
			c.errors = append(c.errors, inCode{"400 " + c.text(n.Args[0]), c.at(n)})
		}
	case *ast.CompositeLit:
		if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "apiError" && len(n.Elts) > 1 {
			if code := c.text(n.Elts[1]); code != "code" { // the parameter of badRequest
				c.errors = append(c.errors, inCode{c.text(n.Elts[0]) + " " + code, c.at(n)})
			}
		}
		if _, ok := n.Type.(*ast.MapType); ok && withMembers {
			c.mapMembers(n)
		}
	case *ast.Field:
		if n.Tag != nil && withMembers {
			tag, _ := strconv.Unquote(n.Tag.Value)
			if name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ","); name != "" && name != "-" {
				c.members = append(c.members, inCode{name, c.at(n)})
			}
		}
	case *ast.FuncDecl:
		if n.Name.Name == "readMembers" {
			ast.Inspect(n, func(n ast.Node) bool {
				if label, ok := n.(*ast.CaseClause); ok && len(label.List) == 1 {
					if name, ok := label.List[0].(*ast.BasicLit); ok {
						c.members = append(c.members, inCode{c.text(name), c.at(name)})
					}
				}
				return true
			})
		}
	}
}

// mapMembers takes the names of a map[string]any, as an answer may be one.
func (c *controlCode) mapMembers(n *ast.CompositeLit) {
	if value, ok := n.Type.(*ast.MapType).Value.(*ast.Ident); !ok || value.Name != "any" {
		return
	}
	for _, e := range n.Elts {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			if name, ok := pair.Key.(*ast.BasicLit); ok {
				c.members = append(c.members, inCode{c.text(name), c.at(name)})
			}
		}
	}
}

func (c *controlCode) at(n ast.Node) string { return c.files.Position(n.Pos()).String() }

// pagePaths are paths that stand in variables.
var pagePaths = map[string]string{"hubJS.Path": hubJS.Path, "openAPI.Path": openAPI.Path}

// text is what an expression comes to: a text, a path, an HTTP status or an error code.
func (c *controlCode) text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err != nil {
			text = e.Value
		}
		return text
	case *ast.KeyValueExpr:
		return c.text(e.Value)
	case *ast.Ident:
		return e.Name
	case *ast.BinaryExpr:
		return c.text(e.X) + c.text(e.Y)
	case *ast.SelectorExpr:
		in, _ := e.X.(*ast.Ident)
		switch {
		case in == nil:
		case in.Name == "session" && c.codes[e.Sel.Name] != "":
			return c.codes[e.Sel.Name]
		case in.Name == "http":
			if status := statusNamed(e.Sel.Name); status != 0 {
				return strconv.Itoa(status)
			}
		case pagePaths[in.Name+"."+e.Sel.Name] != "":
			return pagePaths[in.Name+"."+e.Sel.Name]
		}
	}
	c.t.Errorf("%s: the test can't read this; write a literal, a constant of session or http, or add to pagePaths", c.at(e))
	return ""
}

// statusNamed is the number of a constant such as StatusNotFound, 0 if there is none.
func statusNamed(name string) int {
	for status := 100; status < 600; status++ {
		if text := http.StatusText(status); text != "" && "Status"+strings.ReplaceAll(text, " ", "") == name {
			return status
		}
	}
	return 0
}
