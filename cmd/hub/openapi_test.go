package main

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// operation is the pointer of what openapi.yaml says of a request, "" if nothing.
func operation(method, path string) (pointer string) {
	paths := theOpenAPI().object("/paths")
	name := path
	if paths[name] == nil {
		for template := range paths {
			if begin, _, ok := strings.Cut(template, "{"); ok && strings.HasPrefix(path, begin) {
				name = template
			}
		}
	}
	pointer = "/paths/" + escaped(name) + "/" + strings.ToLower(method)
	if theOpenAPI().object(pointer) == nil {
		return ""
	}
	return pointer
}

// described tells whether a path is one of the control port's that other servers of the tests do not have.
func described(path string) bool {
	return slices.ContainsFunc([]string{"/api/", "/centrifugo/", "/debug/", "/livez", "/readyz"}, func(begin string) bool { return strings.HasPrefix(path, begin) })
}

// holdToOpenAPI fails if a request to the control port that was done, or any answer, is not as openapi.yaml says.
func holdToOpenAPI(t *testing.T, r *http.Request, body string, res *http.Response, answer []byte) {
	t.Helper()
	if !described(r.URL.Path) || res.StatusCode == http.StatusMethodNotAllowed {
		return
	}
	s, pointer := theOpenAPI(), operation(r.Method, r.URL.Path)
	if pointer == "" {
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("openapi.yaml does not know %s %s: add it to paths, with its answers", r.Method, r.URL.Path)
		}
		return
	}
	said := pointer + "/responses/" + strconv.Itoa(res.StatusCode)
	response := s.object(said)
	if response == nil {
		t.Errorf("%s %s is answered %d %s, which openapi.yaml does not know: add it to %s/responses", r.Method, r.URL.Path, res.StatusCode, answer, unescaped(pointer))
		return
	}
	for name := range s.object(said + "/headers") {
		if res.Header.Get(name) == "" {
			t.Errorf("%s %s is answered %d without %s, which openapi.yaml promises", r.Method, r.URL.Path, res.StatusCode, name)
		}
	}
	if len(answer) > 0 {
		kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
		said += "/content/" + escaped(kind)
		if s.object(said) == nil {
			t.Errorf("%s %s is answered %d with %s, which openapi.yaml does not know", r.Method, r.URL.Path, res.StatusCode, kind)
		} else if s.object(said+"/schema") != nil {
			if err := s.check(said+"/schema", answer); err != nil {
				t.Errorf("an answer of %s is not as openapi.yaml says: %v", r.URL.Path, err)
			}
		}
	}
	done := res.StatusCode == http.StatusOK && !strings.HasPrefix(r.URL.Path, "/centrifugo/") // its errors have status 200
	if schema := pointer + "/requestBody/content/application~1json/schema"; done && s.object(schema) != nil {
		if err := s.check(schema, []byte(body)); err != nil {
			t.Errorf("a request to %s was done, and is not as openapi.yaml says: %v", r.URL.Path, err)
		}
	}
}

// TestEveryRequestOfTheDocumentIsDone asks a real hub for all that openapi.yaml shows.
func TestEveryRequestOfTheDocumentIsDone(t *testing.T) {
	t.Parallel()
	h := startInside(t, "--history=news*=10,1h", "--presence=room:*")
	h.awaitReady(t)
	s := theOpenAPI()
	for path, operations := range s.object("/paths") {
		for method := range operations.(map[string]any) {
			pointer := operation(method, path)
			bodies := examples(s, pointer)
			if method == "post" && len(bodies) == 0 {
				t.Errorf("%s has no example of a body", path)
			}
			for name := range s.object(pointer + "/requestBody/content/application~1json/schema/properties") {
				if !strings.Contains(strings.Join(bodies, ""), `"`+name+`":`) {
					t.Errorf("no example of %s has the member %q", path, name)
				}
			}
			if method == "get" {
				bodies = []string{""}
			}
			status := 200
			switch path { // without a Redis
			case "/api/channel":
				status = 404
			case "/api/rebalance":
				status = 409
			}
			for _, body := range bodies {
				status := status
				if path == "/api/rebalance" && strings.Contains(body, `"node":`) {
					status = 503
				}
				url, method := h.control+exampleURL(s, pointer, path), strings.ToUpper(method)
				if got, answer, _ := ask(t, method, url, body, asJSON...); got != status {
					t.Errorf("%s %s %s is answered %d %s", method, url, body, got, answer)
				}
			}
		}
	}
}

// examples are the bodies that the document shows.
func examples(s *spec, pointer string) (bodies []string) {
	content := pointer + "/requestBody/content/application~1json"
	if example := s.object(content)["example"]; example != nil {
		bodies = append(bodies, marshalled(example))
	}
	for _, example := range s.object(content + "/examples") {
		bodies = append(bodies, marshalled(example.(map[string]any)["value"]))
	}
	return bodies
}

func marshalled(v any) string {
	text, _ := json.Marshal(v) // it came from JSON
	return string(text)
}

// exampleURL is a path with the examples of its parameters.
func exampleURL(s *spec, pointer, path string) string {
	query := url.Values{}
	parameters, _ := s.object(pointer)["parameters"].([]any)
	for _, p := range parameters {
		p := p.(map[string]any)
		name, example := p["name"].(string), p["example"]
		switch {
		case p["in"] == "path":
			path = strings.ReplaceAll(path, "{"+name+"}", example.(string))
		case example != nil:
			query.Set(name, strings.Trim(marshalled(example), `"`))
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return path
}

func TestTheDocumentHasEveryRouteAndNoOther(t *testing.T) {
	mux := http.NewServeMux()
	for _, route := range codeOf(t).routes {
		mux.Handle(route.value, http.NotFoundHandler())
		method, path, _ := strings.Cut(route.value, " ")
		path = strings.NewReplacer("{$}", "", "...}", "}").Replace(path)
		if operation(method, path) == "" {
			t.Errorf("%s: openapi.yaml has no %q: add to its paths %s with %s, its body with an example of all members, and each status", route.at, route.value, path, strings.ToLower(method))
		}
	}
	for path, operations := range theOpenAPI().object("/paths") {
		for method := range operations.(map[string]any) {
			r, err := http.NewRequest(strings.ToUpper(method), "http://hub"+exampleURL(theOpenAPI(), operation(method, path), path), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, pattern := mux.Handler(r); pattern == "" {
				t.Errorf("openapi.yaml has %s %s, which control.go does not serve", method, path)
			}
		}
	}
}

// TestTheDocumentHasEveryErrorAndNoOther compares statuses and codes. Answers to a batch of events have those of one.
func TestTheDocumentHasEveryErrorAndNoOther(t *testing.T) {
	s, said := theOpenAPI(), map[string]bool{}
	for path, operations := range s.object("/paths") {
		for method := range operations.(map[string]any) {
			pointer := operation(method, path) + "/responses"
			for status := range s.object(pointer) {
				code := s.object(pointer + "/" + status + "/content/application~1json/schema/properties/error/properties/code")
				codes, _ := code["enum"].([]any)
				for _, c := range codes {
					said[status+" "+c.(string)] = false
				}
			}
		}
	}
	for _, e := range codeOf(t).errors {
		if _, ok := said[e.value]; !ok {
			t.Errorf("%s: openapi.yaml does not know the error %q: add it to components/responses, and that to the answers of its paths", e.at, e.value)
		}
		said[e.value] = true
	}
	for e, made := range said {
		if !made {
			t.Errorf("openapi.yaml knows the error %q, which no line makes", e)
		}
	}
}

// TestTheDocumentHasEveryMember compares names of members. Those of each request and answer are compared where tests ask.
func TestTheDocumentHasEveryMember(t *testing.T) {
	said := map[string]bool{}
	walk(theOpenAPI().doc, func(object map[string]any) {
		properties, _ := object["properties"].(map[string]any)
		for name := range properties {
			said[name] = false
		}
	})
	for _, m := range codeOf(t).members {
		if _, ok := said[m.value]; !ok {
			t.Errorf("%s: openapi.yaml has no member %q: add it to the schema of each request or answer that has it", m.at, m.value)
		}
		said[m.value] = true
	}
	for name, known := range said {
		if !known {
			t.Errorf("openapi.yaml has a member %q, which the code does not", name)
		}
	}
}
