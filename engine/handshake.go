package engine

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"iter"
	"math/bits"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Request is a client's opening handshake that kept the rules of RFC 6455, 4.2.1, or a plain HTTP request at one of
// Config.HTTPPaths, or a Call. It holds every header line: keep what you need of it, not all of it.
type Request struct {
	// Kind is what the client asks for.
	Kind Kind
	// Request is what net/http's parser read. Its body is empty.
	*http.Request
	// Subprotocols are those on offer, in the client's order, at most 16.
	Subprotocols []string

	key   string
	offer offer
}

const (
	// maxSubprotocols bounds an offer. Browsers' applications offer one or two; a token may be one more.
	maxSubprotocols = 16
	// maxHeaderLines bounds what net/http makes of a head: thousands of empty lines, in 16 KiB, would cost a loop a
	// millisecond. Browsers send some twenty, and most proxies pass on a hundred at most.
	maxHeaderLines = 256
	// maxLengthDigits are those of the longest Content-Length that fits into 63 bits for sure.
	maxLengthDigits = 18
)

// The engine's refusals of a handshake. Where several fit, parse answers with the first in its order of checks.
var (
	refuseHead       = refuse(http.StatusBadRequest, "malformed HTTP request")
	refuseLines      = refuse(http.StatusBadRequest, "header lines must end in CR LF and hold no control characters")
	refuseFolding    = refuse(http.StatusBadRequest, "header lines must not be folded")
	refuseTooMany    = refuse(http.StatusRequestHeaderFieldsTooLarge, "over 256 header lines")
	refuseName       = refuse(http.StatusBadRequest, "malformed header name")
	refuseLength     = refuse(http.StatusBadRequest, "malformed or ambiguous body length")
	refuseVersion    = refuse(http.StatusBadRequest, "HTTP/1.1 is required")
	refuseMethod     = refuse(http.StatusMethodNotAllowed, "only GET is allowed at this path: this port is for clients, and the API for backends on another one", "Allow", "GET")
	refuseHTTPMethod = refuse(http.StatusMethodNotAllowed, "only GET, POST and OPTIONS are allowed, and GET alone with an upgrade", "Allow", httpMethods)
	refuseBody       = refuse(http.StatusRequestEntityTooLarge, "the request must have no body")
	refuseTarget     = refuse(http.StatusBadRequest, "malformed request target")
	refuseUpgrade    = refuse(http.StatusUpgradeRequired, "the request is plain HTTP (no Upgrade: websocket), and asks for nothing that is here")
	refusePath       = refuse(http.StatusNotFound, "no WebSocket endpoint at this path")
	refuseConnection = refuse(http.StatusBadRequest, "Connection: Upgrade is required")
	refuseKey        = refuse(http.StatusBadRequest, "exactly one Sec-WebSocket-Key is required: 16 bytes in base64")
	refuseTwice      = refuse(http.StatusBadRequest, "repeated Sec-WebSocket-Version")
	refuseVersion13  = refuse(http.StatusUpgradeRequired, "Sec-WebSocket-Version: 13 is required", "Sec-WebSocket-Version", "13")
	refuseHost       = refuse(http.StatusBadRequest, "exactly one valid Host is required")
	refuseProtocol   = refuse(http.StatusBadRequest, "Sec-WebSocket-Protocol must list 1 to 16 different tokens")
	refuseExtensions = refuse(http.StatusBadRequest, "malformed Sec-WebSocket-Extensions")
	refuseTwoOrigins = refuse(http.StatusBadRequest, "empty or repeated Origin")
	refuseOrigin     = refuseNamed("origin", http.StatusForbidden, "origin not allowed")
	refuseFull       = refuse(http.StatusServiceUnavailable, "node is full, try again later", "Retry-After", "5")

	refusePlain = refuse(http.StatusBadRequest, "this port speaks TLS only: use wss:// or https://")
	refuseTLS   = refuse(http.StatusBadRequest, "this port speaks no TLS: use ws:// or http://, or end TLS in front of it")
	refuseProxy = refuseNamed("proxy_head", http.StatusBadRequest, "this port does not read the PROXY protocol: turn it off in front of it")
	refuseSSH   = refuse(http.StatusBadRequest, "this port speaks HTTP, not SSH")
)

// refuseFrom is refuseOrigin for an operator to understand.
func refuseFrom(origin, host string) *Refusal {
	r := *refuseOrigin
	r.Detail = fmt.Sprintf("the page's origin %q is neither one of the list nor that of the Host %q", origin, host)
	return &r
}

// at is r with the paths that there are, and those of plain HTTP, where whoever asks may not know them.
func (r *Refusal) at(paths, plain []string) *Refusal {
	full := *r
	switch r {
	case refuseUpgrade:
		full.Reason += "; WebSocket is at " + strings.Join(paths, ", ") + ": in a page or a browser's console here new WebSocket('" + paths[0] + "')"
		if len(plain) > 0 {
			full.Reason += "; plain HTTP is for streams of events (Accept: " + EventStream + ") and POST, at " + strings.Join(plain, ", ")
		}
	case refusePath:
		full.Reason += "; there is one at " + strings.Join(paths, " and ")
	case refuseMethod:
		if len(plain) == 0 {
			return r
		}
		full.Reason += "; POST is taken at " + strings.Join(plain, ", ")
	default:
		return r
	}
	return &full
}

func refuse(status int, reason string, field ...string) *Refusal {
	return refuseNamed("", status, reason, field...)
}

// refuseNamed is refuse for a rule that has a name of its own.
func refuseNamed(name string, status int, reason string, field ...string) *Refusal {
	r := &Refusal{Status: status, Name: name, Reason: reason}
	if len(field) == 2 {
		r.Header = http.Header{field[0]: field[1:]}
	}
	return r
}

// headEnd returns the length of the HTTP head in b, its blank line included, or -1 while that has not
// come. A blank line that lacks its CR counts too: such a head is for parse to refuse, not to wait for.
func headEnd(b []byte) int {
	for i := 0; ; i++ {
		lf := bytes.IndexByte(b[i:], '\n')
		if lf < 0 {
			return -1
		}
		i += lf
		switch next := b[i+1:]; {
		case len(next) > 0 && next[0] == '\n':
			return i + 2
		case len(next) > 1 && next[0] == '\r' && next[1] == '\n':
			return i + 3
		}
	}
}

// headParser parses the heads of handshakes. Its zero value is ready; it reuses its buffers.
type headParser struct {
	src bytes.Reader
	buf *bufio.Reader
	// header is that of the last head, whatever parse made of it; nil if it was too malformed to be read.
	header http.Header
	// http are the paths at which plain HTTP is spoken, too.
	http  []string
	calls CallConfig
}

// parse reads a whole head, up to its blank line. A handshake that breaks a rule, asks for another path
// or comes from an origin that is not allowed is refused. With refuseUpgrade comes the request, too: a page may answer it. So
// it does with the refusal of a plain HTTP request's origin, for the form of the answer.
func (p *headParser) parse(head []byte, paths []string, origins *Origins) (*Request, *Refusal) {
	p.header = nil
	raw, refusal := scanHead(head)
	if refusal != nil {
		return nil, refusal
	}
	switch {
	case !bytes.HasPrefix(raw.version, []byte("HTTP/1.")) || raw.version[7] == '0':
		return nil, refuseVersion
	case string(raw.method) != http.MethodGet && !p.exchanges(raw.method):
		return nil, p.refuseMethodOf(raw.target)
	case raw.body && string(raw.method) != http.MethodPost:
		return nil, refuseBody
	case raw.unmeasured:
		return nil, refuseLength
	}
	hr, err := p.read(head)
	if err != nil || bytes.IndexByte(raw.target, '#') >= 0 {
		return nil, refuseTarget // what else net/http might refuse has been refused above
	}
	p.header = hr.Header
	r := &Request{Request: hr, Kind: kindOf(hr, p.http, paths, &p.calls)}
	if r.Kind == WebSocket && hr.Method != http.MethodGet {
		return nil, p.refuseMethodOf(raw.target)
	}
	if _, ok := cutPort(string(raw.host)); !ok {
		return nil, refuseHost
	}
	if hr.URL.IsAbs() && !sameHost(hr.URL, string(raw.host)) {
		return nil, refuseTarget
	}
	switch refusal := r.validate(paths); refusal {
	case nil:
	case refuseUpgrade:
		return r, refusal.at(paths, p.http)
	default:
		return nil, refusal.at(paths, p.http)
	}
	if refusal := r.readLists(); refusal != nil {
		return nil, refusal
	}
	if from := hr.Header["Origin"]; len(from) > 0 {
		switch {
		case len(from) > 1 || from[0] == "":
			refusal = refuseTwoOrigins
		case !origins.allow(from[0], hr.Host):
			refusal = refuseFrom(from[0], hr.Host)
		}
	}
	if refusal != nil && r.Kind == WebSocket {
		return nil, refusal
	}
	return r, refusal
}

// exchanges reports whether method is one that plain HTTP needs besides GET.
func (p *headParser) exchanges(method []byte) bool {
	switch string(method) {
	case http.MethodPost:
		return len(p.http) > 0 || p.calls.Folder != ""
	case http.MethodOptions:
		return len(p.http) > 0
	}
	return false
}

// refuseMethodOf is the refusal of a method that the target does not allow.
func (p *headParser) refuseMethodOf(target []byte) *Refusal {
	if u, err := url.ParseRequestURI(string(target)); err == nil && len(p.http) > 0 && isPath(u, p.http) {
		return refuseHTTPMethod
	}
	return refuseMethod.at(nil, p.http)
}

func (p *headParser) read(head []byte) (*http.Request, error) {
	if p.buf == nil || p.buf.Size() < len(head) {
		p.buf = bufio.NewReaderSize(&p.src, max(4<<10, 1<<bits.Len(uint(len(head)-1)))) // net/http counts header lines in it, to allocate once
	}
	p.src.Reset(head)
	p.buf.Reset(&p.src)
	return http.ReadRequest(p.buf)
}

// validate goes through the header lines that RFC 6455, 4.2.1 demands, and keeps the key.
func (r *Request) validate(paths []string) *Refusal {
	if r.Kind != WebSocket {
		return nil
	}
	key, version := r.Header["Sec-Websocket-Key"], r.Header["Sec-Websocket-Version"]
	switch {
	case !hasToken(r.Header["Upgrade"], "websocket"):
		return refuseUpgrade
	case !isPath(r.URL, paths):
		return refusePath
	case !hasToken(r.Header["Connection"], "upgrade"):
		return refuseConnection
	case len(key) != 1 || !isKey(key[0]):
		return refuseKey
	case len(version) > 1:
		return refuseTwice
	case len(version) == 0 || version[0] != "13":
		return refuseVersion13
	}
	r.key = key[0]
	return nil
}

// readLists keeps the subprotocols on offer and the first offer of permessage-deflate that can be accepted, and validates the
// other extensions.
func (r *Request) readLists() *Refusal {
	if r.Kind != WebSocket {
		return nil
	}
	offers, offered := r.Header["Sec-Websocket-Protocol"]
	for name := range elements(offers) {
		if !isToken(name) || slices.Contains(r.Subprotocols, name) || len(r.Subprotocols) == maxSubprotocols {
			return refuseProtocol
		}
		r.Subprotocols = append(r.Subprotocols, name)
	}
	if offered && len(r.Subprotocols) == 0 {
		return refuseProtocol
	}
	for extension := range elements(r.Header["Sec-Websocket-Extensions"]) {
		if !isExtension(extension) {
			return refuseExtensions
		}
		if r.offer.window == 0 {
			r.offer = deflateOffer(extension)
		}
	}
	return nil
}

// isPath compares as sent: /%61 is not /a. A path of paths that ends in / stands for all with one segment more.
func isPath(u *url.URL, paths []string) bool {
	if u.RawPath != "" && u.RawPath != u.Path {
		return false
	}
	folder := u.Path[:strings.LastIndexByte(u.Path, '/')+1]
	return slices.Contains(paths, u.Path) || folder != "" && slices.Contains(paths, folder)
}

// sameHost checks an absolute target, which proxies send (RFC 6455, 4.1; RFC 9112, 3.2.2).
func sameHost(u *url.URL, host string) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.User == nil && strings.EqualFold(u.Host, host)
}

func isKey(key string) bool {
	var nonce [18]byte // what 24 characters decode to, padding or not
	if len(key) != base64.StdEncoding.EncodedLen(16) {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], []byte(key))
	return err == nil && n == 16
}

// isExtension checks one extension's grammar (RFC 6455, 9.1). A quoted value must be a token, too, and
// so needs no quoted pairs.
func isExtension(s string) bool {
	name, params, more := strings.Cut(s, ";")
	if !isToken(trim(name)) {
		return false
	}
	for more {
		var param string
		param, params, more = strings.Cut(params, ";")
		key, value, valued := strings.Cut(param, "=")
		if !isToken(trim(key)) || valued && !isToken(unquote(trim(value))) {
			return false
		}
	}
	return true
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// elements yields the elements of a comma-separated list, all its header lines together, empty ones left
// out (RFC 9110, 5.6.1).
func elements(lines []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range lines {
			for e := range strings.SplitSeq(line, ",") {
				if e = trim(e); e != "" && !yield(e) {
					return
				}
			}
		}
	}
}

func hasToken(lines []string, lower string) bool {
	for e := range elements(lines) {
		if foldsTo(e, lower) {
			return true
		}
	}
	return false
}

func trim(s string) string { return strings.Trim(s, " \t") }

// foldsTo compares without regard to ASCII case. (Unicode's folding has the Kelvin sign match a k.)
func foldsTo[T string | []byte](s T, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken[T string | []byte](s T) bool {
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return len(s) > 0
}

var tokenByte = func() (is [256]bool) {
	const all = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for i := range len(all) {
		is[all[i]] = true
	}
	return is
}()

// rawHead is what of a head has to be seen before net/http, which forgives and tidies, has read it.
type rawHead struct {
	method, target, version []byte

	host []byte
	body bool // one is announced
	// unmeasured says that net/http would not read how long it is: it is longer than any number, or in another coding than
	// chunks.
	unmeasured bool
}

// scanHead checks what net/http is lenient about and a proxy in front of us may read otherwise: bare LF,
// folded lines, control characters, space before a colon, repeated or signed lengths.
func scanHead(head []byte) (raw rawHead, refusal *Refusal) {
	line, rest, ok := cutLine(head)
	if !ok {
		return raw, foreign(head, refuseLines)
	}
	raw.method, line, _ = bytes.Cut(line, []byte(" "))
	raw.target, raw.version, _ = bytes.Cut(line, []byte(" "))
	if !isToken(raw.method) || !isVisible(raw.target) || !isVersion(raw.version) {
		return raw, foreign(head, refuseHead)
	}
	var hosts, lengths, codings int
	for lines := 0; ; lines++ {
		if line, rest, ok = cutLine(rest); !ok {
			return raw, refuseLines
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.Trim(value, " \t")
		switch {
		case line[0] == ' ' || line[0] == '\t':
			return raw, refuseFolding
		case !isToken(name) || len(name) == len(line):
			return raw, refuseName
		case lines == maxHeaderLines:
			return raw, refuseTooMany
		case foldsTo(name, "host"):
			raw.host = value
			hosts++
		case foldsTo(name, "transfer-encoding"):
			codings++
			raw.body = true
			raw.unmeasured = raw.unmeasured || !foldsTo(value, "chunked")
		case foldsTo(name, "content-length"):
			lengths++
			if len(value) == 0 || len(bytes.Trim(value, "0123456789")) > 0 {
				return raw, refuseLength
			}
			raw.unmeasured = raw.unmeasured || len(bytes.TrimLeft(value, "0")) > maxLengthDigits
			raw.body = raw.body || len(bytes.Trim(value, "0")) > 0
		}
	}
	switch {
	case lengths+codings > 1:
		return raw, refuseLength
	case hosts > 1:
		return raw, refuseHost
	}
	return raw, nil
}

// cutLine cuts b behind its first line. ok is false if that does not end in CR LF, or has control
// characters other than tab.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	end := bytes.IndexByte(b, '\n')
	if end < 1 || b[end-1] != '\r' {
		return nil, nil, false
	}
	line = b[:end-1]
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7F {
			return nil, nil, false
		}
	}
	return line, b[end+1:], true
}

// isVisible reports whether s is visible ASCII, as a request target must be.
func isVisible[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7F {
			return false
		}
	}
	return len(s) > 0
}

func isVersion(b []byte) bool {
	return len(b) == len("HTTP/1.1") && string(b[:5]) == "HTTP/" && b[6] == '.' && isDigit(b[5]) && isDigit(b[7])
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// appendSwitch appends the answer that opens the connection (RFC 6455, 4.2.2), with the subprotocol that
// and the extension that were chosen, or "".
func appendSwitch(dst []byte, key, subprotocol, extension string) []byte {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var buf [24 + len(guid)]byte
	sum := sha1.Sum(append(append(buf[:0], key...), guid...))

	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	if subprotocol != "" {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, subprotocol...)
	}
	if extension != "" {
		dst = append(dst, "\r\nSec-WebSocket-Extensions: "...)
		dst = append(dst, extension...)
	}
	return append(dst, "\r\n\r\n"...)
}
