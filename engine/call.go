package engine

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Calls are an API on the public port: a Call is answered as a Post is, with its own bound for bodies, and judged by its head
// before a byte of its body is kept.

// CallConfig shapes the Calls of a Server.
type CallConfig struct {
	// Folder has a GET or POST without an upgrade be a Call if its path holds this, as /apps/, wherever: a proxy may have put something
	// before it. Default: there are none.
	Folder string
	// MaxBody bounds the body of one, in bytes, 1 to 16 MiB. Default 64 KiB.
	MaxBody int
	// Judge, where not nil, says on the connection's loop why the head of a Call is refused, nil where its body is worth reading.
	Judge func(c *Conn, r *Request) *Refusal
}

// withDefaults returns cfg with defaults for zero fields, or an error that names the bad field.
func (cfg CallConfig) withDefaults() (CallConfig, error) {
	def(&cfg.MaxBody, 64<<10)
	if f := cfg.Folder; f != "" && (len(f) < 3 || !strings.HasPrefix(f, "/") || !strings.HasSuffix(f, "/")) {
		return cfg, fmt.Errorf("calls: folder %q: must begin and end with /", f)
	}
	return cfg, within("calls: max body", cfg.MaxBody, 1, 16<<20)
}

// isCall reports whether a plain HTTP request for u is a Call.
func (cfg *CallConfig) isCall(method string, u *url.URL) bool {
	return cfg.Folder != "" && (method == http.MethodGet || method == http.MethodPost) && strings.Contains(u.EscapedPath(), cfg.Folder)
}

// judgeCall is why a Call is not read to its end, nil if it is.
func (c *Conn) judgeCall(r *Request) *Refusal {
	calls := &c.loop.srv.cfg.Calls
	if calls.Judge != nil {
		if refusal := calls.Judge(c, r); refusal != nil {
			return refusal
		}
	}
	if r.Method == http.MethodGet {
		return nil // parse takes no body with it
	}
	return r.sizeUp(calls.MaxBody)
}
