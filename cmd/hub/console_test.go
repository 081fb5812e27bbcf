package main

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestTheConsoleIsServedAsFilesThatMayNothing(t *testing.T) {
	url := (&backend{}).start(t, "--path=/a</script>b", "--api-key=0123456789abcdef")
	get := func(path string, headers ...string) (int, string, http.Header) {
		t.Helper()
		return ask(t, "GET", url+path, "", headers...)
	}
	status, index, _ := get("/", "Accept", "text/html,*/*;q=0.8")
	if status != 200 || !strings.Contains(index, `name="hub-port" content="3000"`) || !strings.Contains(index, `name="hub-scheme" content="ws"`) || strings.Contains(index, "/a</script>b") {
		t.Errorf("/ is answered %d %s", status, index)
	}
	if inline := regexp.MustCompile(`<script(?:>| [^>]*[^"]>)|<style| style=| on\w+=`).FindString(index); inline != "" {
		t.Errorf("the page has %s in it", inline)
	}
	for path, kind := range map[string]string{"/": "text/html", "/console/console.css": "text/css", "/console/console.js": "text/javascript", "/console/api.js": "text/javascript"} {
		status, _, header := get(path, "Accept", "text/html")
		for name, want := range map[string]string{
			"Content-Type": kind, "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; ", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
		} {
			if got := header.Get(name); status != 200 || !strings.HasPrefix(got, want) {
				t.Errorf("%s is answered %d with %s: %q", path, status, name, got)
			}
		}
		policy := header.Get("Content-Security-Policy")
		if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s has the policy %q", path, policy)
		}
		if status, body, _ := get(path, "Accept", "text/html", "If-None-Match", header.Get("Etag")); status != http.StatusNotModified || body != "" {
			t.Errorf("%s is sent again to those who have it: %d", path, status)
		}
	}
	for _, path := range []string{"/console/", "/console/index.html", "/console/nothing.js", "/console/../control.go"} {
		if status, _, _ := get(path); status != 404 {
			t.Errorf("%s is answered %d", path, status)
		}
	}
}

func TestTryLeadsIntoTheConsole(t *testing.T) {
	url := (&backend{}).start(t)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(url + "/try")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusFound || to != "/#/try" {
		t.Errorf("answered %d, %s", res.StatusCode, to)
	}
}

// TestTheConsoleIsSmallAndAsksNobodyElse also keeps it from making markup of text.
func TestTheConsoleIsSmallAndAsksNobodyElse(t *testing.T) {
	weight := 0
	for name, body := range consoleBodies("127.0.0.1:3000", parsed(t, nil).cfg) {
		if name != "index.html" {
			weight += len(body)
		}
		if found := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|localStorage|sessionStorage|document\.cookie`).Find(body); found != nil {
			t.Errorf("%s has %s", name, found)
		}
		for _, url := range regexp.MustCompile(`\w+://[^\s'"]*`).FindAllString(string(body), -1) {
			if url != "http://www.w3.org/2000/svg" && !strings.HasPrefix(url, "${") {
				t.Errorf("%s names %s", name, url)
			}
		}
	}
	if weight > 72<<10 {
		t.Errorf("scripts and styles have %d bytes, over 72 KiB", weight)
	}
}

func TestTheConsolesCloseCodesAreWrittenFromTheProtocolsPage(t *testing.T) {
	_, part, _ := strings.Cut(read(t, protocol), "\n## Close codes\n")
	part, _, _ = strings.Cut(part, "\n## ")
	var rows strings.Builder
	for _, m := range regexp.MustCompile("(?m)^\\| (\\d+) \\| `(\\w+)`[^|]* \\| (.*) \\|$").FindAllStringSubmatch(part, -1) {
		if m[2] != "lobby_full" { // shares its code
			fmt.Fprintf(&rows, "<tr><td>%s<td>%s<td>%s\n", m[1], m[2], html.EscapeString(strings.ReplaceAll(m[3], "`", "")))
		}
	}
	const page, begin, end = "console/index.html", "<template id=\"codes\"><table>\n", "</table></template>"
	before, rest, ok1 := strings.Cut(read(t, page), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 || strings.Count(rows.String(), "\n") < 10 {
		t.Fatalf("no close codes in %s, or in %s", page, protocol)
	}
	if *update {
		write(t, page, before+begin+rows.String()+end+after)
		return
	}
	if got != rows.String() {
		t.Errorf("%s has other close codes than %s; go test ./cmd/hub -run Written -update", page, protocol)
	}
}
