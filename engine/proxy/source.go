package proxy

import (
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"strings"
)

// Source is where a client's address stands.
type Source uint8

const (
	Socket        Source = iota // the peer of the socket is the client
	XForwardedFor               // the header field X-Forwarded-For
	Forwarded                   // the header field Forwarded (RFC 7239)
	Protocol                    // the PROXY protocol's head, before all else
)

var sourceNames = [...]string{Socket: "socket", XForwardedFor: "x-forwarded-for", Forwarded: "forwarded", Protocol: "proxy"}

// ParseSource is the Source of that name.
func ParseSource(name string) (Source, error) {
	for i, known := range sourceNames {
		if name == known {
			return Source(i), nil
		}
	}
	return Socket, fmt.Errorf("client address %q: want %s", name, strings.Join(sourceNames[:], ", "))
}

// String is the name that ParseSource reads.
func (s Source) String() string { return sourceNames[s] }

// maxHops bounds the proxies that are passed on the way to a client, so that a long field costs little.
const maxHops = 32

// Client is the address of the client who sent header by way of peer, the other end of the socket. That is peer itself
// if it is no proxy of trusted, or if s is no header field. An entry that is no address ends the search: the client is
// then the nearest proxy of which one is known.
func (s Source) Client(peer netip.Addr, header http.Header, trusted Networks) netip.Addr {
	client, hops := peer, 0
	for node := range s.nodes(header) {
		if !trusted.Contains(client) || hops == maxHops {
			break
		}
		hops++
		addr, ok := parseNode(node)
		if !ok {
			break
		}
		client = addr
	}
	return client
}

// nodes yields the nodes that a request came by, the nearest one first. One that is not to be made out is "".
func (s Source) nodes(header http.Header) iter.Seq[string] {
	switch s {
	case XForwardedFor:
		return fromRight(header["X-Forwarded-For"], cutPlain)
	case Forwarded:
		return func(yield func(string) bool) {
			for element := range fromRight(header["Forwarded"], cutQuoted) {
				if !yield(forOf(element)) {
					return
				}
			}
		}
	}
	return func(func(string) bool) {}
}

// fromRight yields the elements of a list that stands in several lines, the last one first; empty ones are left out
// (RFC 9110, 5.6.1). cut cuts off a line's last one.
func fromRight(lines []string, cut func(line string) (before, last string)) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := len(lines) - 1; i >= 0; i-- {
			for line := lines[i]; line != ""; {
				var last string
				line, last = cut(line)
				if last = strings.Trim(last, " \t"); last != "" && !yield(last) {
					return
				}
			}
		}
	}
}

// cutPlain cuts a list at its last comma.
func cutPlain(line string) (before, last string) {
	at := strings.LastIndexByte(line, ',')
	return line[:max(at, 0)], line[at+1:]
}

// cutQuoted cuts a list at its last comma outside quotes. It begins at the right: a client that sends half a quoted
// string can't hide in it the element that a proxy appends.
func cutQuoted(line string) (before, last string) {
	quoted := false
	for i := len(line) - 1; i >= 0; i-- {
		switch {
		case line[i] == '"' && !escaped(line[:i]):
			quoted = !quoted
		case line[i] == ',' && !quoted:
			return line[:i], line[i+1:]
		}
	}
	return "", line
}

// escaped reports whether the byte behind s follows a backslash that is none itself.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// forOf is the value of an element's only parameter "for", or "" (RFC 7239, 4).
func forOf(element string) (node string) {
	for rest, more := element, true; more; {
		var pair string
		if pair, rest, more = cutPair(rest); strings.Trim(pair, " \t") == "" {
			continue
		}
		name, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !ok {
			return ""
		}
		if !strings.EqualFold(name, "for") {
			continue
		}
		if node != "" {
			return "" // which one?
		}
		if node, ok = unquote(value); !ok || node == "" {
			return ""
		}
	}
	return node
}

// cutPair cuts s behind its first semicolon outside quotes.
func cutPair(s string) (pair, rest string, more bool) {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"' && !escaped(s[:i]):
			quoted = !quoted
		case s[i] == ';' && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// unquote is value without its quotes. No node needs a backslash.
func unquote(value string) (string, bool) {
	if inner, ok := strings.CutPrefix(value, `"`); ok {
		value, ok = strings.CutSuffix(inner, `"`)
		if !ok {
			return "", false
		}
	}
	return value, !strings.ContainsAny(value, `"\ `)
}

// parseNode reads an address, with or without a port: 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80.
// Names that stand for an address, as unknown and _hidden, are not ok.
func parseNode(s string) (addr netip.Addr, ok bool) {
	host, port := s, ""
	switch inner, bracketed := strings.CutPrefix(s, "["); {
	case bracketed:
		if host, port, ok = strings.Cut(inner, "]"); !ok || !strings.Contains(host, ":") {
			return netip.Addr{}, false
		}
	case strings.Count(s, ":") == 1:
		at := strings.IndexByte(s, ':')
		host, port = s[:at], s[at:]
	}
	if port != "" && !isPort(port) {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// isPort reports whether s is a colon and a port, or a name that stands for one (RFC 7239, 6).
func isPort(s string) bool {
	s, ok := strings.CutPrefix(s, ":")
	if name, obfuscated := strings.CutPrefix(s, "_"); obfuscated {
		return ok && name != ""
	}
	return ok && len(s) >= 1 && len(s) <= 5 && strings.Trim(s, "0123456789") == ""
}
