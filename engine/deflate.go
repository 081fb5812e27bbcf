package engine

import (
	"strconv"
	"strings"
)

// Deflate is what a connection has agreed on about compressed messages (RFC 7692, permessage-deflate). In no case does a
// message refer to an earlier one, either way: so one compressed frame is right for all connections with the same terms,
// and a connection holds no state of a compressor.
type Deflate uint8

const (
	// NoDeflate: messages are not compressed.
	NoDeflate Deflate = iota
	// Deflated: messages may be compressed, within the window of Config.Deflate.
	Deflated
	// DeflatedNarrow: likewise, within a window of 512 bytes, for a client that asked for a smaller one than
	// Config.Deflate's.
	DeflatedNarrow
)

const (
	// narrowWindow is the smallest window, in bits, that compressors of clients agree to: zlib has no inflater of 8.
	narrowWindow = 9
	maxWindow    = 15
)

// Deflate is what c has agreed on.
func (c *Conn) Deflate() Deflate {
	switch c.as {
	case asDeflated:
		return Deflated
	case asNarrow:
		return DeflatedNarrow
	}
	return NoDeflate
}

// asWith is a WebSocket on these terms.
func asWith(terms Deflate) as {
	switch terms {
	case Deflated:
		return asDeflated
	case DeflatedNarrow:
		return asNarrow
	}
	return asWebSocket
}

// offer is what a client asks of the hub's compressor. Its zero value stands for no offer.
type offer struct {
	window uint8 // the largest that it can inflate, in bits; 0: there is no offer
	named  bool  // it has said so, and wants an answer to it
}

// deflateOffer reads one extension of a handshake. It is the zero offer if that is not one of permessage-deflate that can be
// accepted (RFC 7692, 7). The extension's grammar is right.
func deflateOffer(extension string) offer {
	name, params, more := strings.Cut(extension, ";")
	if !foldsTo(trim(name), "permessage-deflate") {
		return offer{}
	}
	o := offer{window: maxWindow}
	var seen [4]bool
	for more {
		var param string
		param, params, more = strings.Cut(params, ";")
		key, value, valued := strings.Cut(param, "=")
		value = unquote(trim(value))
		window := windowBits(value)
		var i int
		ok := false
		switch trim(key) {
		case "server_no_context_takeover":
			i, ok = 0, !valued
		case "client_no_context_takeover":
			i, ok = 1, !valued
		case "client_max_window_bits":
			i, ok = 2, !valued || window > 0
		case "server_max_window_bits":
			i, ok = 3, window >= narrowWindow
			o.window, o.named = window, true
		}
		if !ok || seen[i] {
			return offer{}
		}
		seen[i] = true
	}
	return o
}

// windowBits reads the bits of a window, 8 to 15 without leading zeros; else it is 0.
func windowBits(s string) uint8 {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n < 8 || n > maxWindow || s[0] == '0' {
		return 0
	}
	return uint8(n)
}

// agree chooses the terms for an offer, and the extension of the answer that says so, "" for none. window is Config.Deflate.
func (o offer) agree(window int) (terms Deflate, answer string) {
	const takesNothingOver = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	switch {
	case window == 0 || o.window == 0:
		return NoDeflate, ""
	case int(o.window) < window:
		return DeflatedNarrow, takesNothingOver + "; server_max_window_bits=" + strconv.Itoa(narrowWindow)
	case o.named || window < maxWindow:
		return Deflated, takesNothingOver + "; server_max_window_bits=" + strconv.Itoa(window)
	}
	return Deflated, takesNothingOver
}
