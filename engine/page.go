package engine

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Page is a small file that plain GETs of the public port are answered with. Its bytes are fixed at New. The answer is
// written on the loop, and the connection closes behind it. A request from a page of any origin gets it. A WebSocket
// handshake at Path is judged as if there were no Page.
type Page struct {
	// Path is compared as Config.Paths are. A query is ignored.
	Path string
	// Type is the Content-Type.
	Type string
	// MaxAge is how long clients may use a copy without asking again, in whole seconds. With the ETag that every
	// answer has, they then ask whether it is still the same.
	MaxAge time.Duration
	// Body is at most 256 KiB.
	Body []byte
}

const (
	maxPages = 16
	maxPage  = 256 << 10
	// pageTime bounds how long a slow client may take to read a page, as long as bytes go to it at all.
	pageTime = 10 * time.Second
)

// ETag is the page's entity tag: it changes with Body.
func (p *Page) ETag() string {
	sum := sha256.Sum256(p.Body)
	return fmt.Sprintf(`"%x"`, sum[:12])
}

// Header is what each answer with the page says, but for its length and its connection.
func (p *Page) Header() http.Header {
	return http.Header{
		"Access-Control-Allow-Origin":  {"*"},
		"Cache-Control":                {"public, max-age=" + strconv.Itoa(int(p.MaxAge/time.Second))},
		"Content-Type":                 {p.Type},
		"Cross-Origin-Resource-Policy": {"cross-origin"}, // for pages that are isolated from other origins
		"Etag":                         {p.ETag()},
		"X-Content-Type-Options":       {"nosniff"},
	}
}

// page is a Page with its answers.
type page struct {
	etag            string
	whole, modified []byte // with 200, and with 304 where the client has it
}

// newPages makes the answers of list, by path.
func newPages(list []Page) (map[string]*page, error) {
	if len(list) > maxPages {
		return nil, fmt.Errorf("%d pages: at most %d", len(list), maxPages)
	}
	pages := make(map[string]*page, len(list))
	for _, p := range list {
		switch {
		case !strings.HasPrefix(p.Path, "/"):
			return nil, fmt.Errorf("page %q: its path must begin with /", p.Path)
		case pages[p.Path] != nil:
			return nil, fmt.Errorf("page %q is there twice", p.Path)
		case len(p.Body) > maxPage:
			return nil, fmt.Errorf("page %q: over %s", p.Path, inBytes(maxPage))
		case p.Type == "":
			return nil, errors.New("page " + p.Path + " has no type")
		}
		length := "Content-Length: " + strconv.Itoa(len(p.Body)) + "\r\n"
		pages[p.Path] = &page{
			etag:     p.ETag(),
			whole:    append(p.answer("200 OK", length), p.Body...),
			modified: p.answer("304 Not Modified", ""),
		}
	}
	return pages, nil
}

// answer is the head of an answer.
func (p *Page) answer(status, length string) []byte {
	b := bytes.NewBufferString("HTTP/1.1 " + status + "\r\nConnection: close\r\n" + length)
	_ = p.Header().Write(b) // a Buffer takes all
	b.WriteString("\r\n")
	return b.Bytes()
}

// pageFor is the page that a plain GET asks for, or nil.
func (s *Server) pageFor(r *Request) *page {
	if r.URL.RawPath != "" && r.URL.RawPath != r.URL.Path {
		return nil
	}
	return s.pages[r.URL.Path]
}

// to is the answer to a request with that header. Clients send back the ETag of their copy, some as a weak one.
func (p *page) to(header http.Header) []byte {
	for tag := range elements(header["If-None-Match"]) {
		if tag == "*" || strings.TrimPrefix(tag, "W/") == p.etag {
			return p.modified
		}
	}
	return p.whole
}

// serve answers with a page and ends c.
func (c *Conn) serve(answer []byte) {
	c.loop.count.pages.Add(1)
	c.transit.page = true
	c.answer(answer)
}

// reads reports whether c is to have more time, which it was given for its last bytes: it reads a page, slowly.
func (c *Conn) reads() bool {
	c.leaving = max(c.leaving, uint8(ticks(lingerTime)))
	return c.transit.page && c.leaving < uint8(ticks(pageTime)) && c.socket.flows(lingerTime)
}
