package engine

import (
	"bytes"
	"net/http"
	"strconv"
)

// Refusal is the plain HTTP answer to a handshake that is not followed. The engine's own refusals are
// shared: do not change one that it returned.
type Refusal struct {
	// Status is the HTTP status, 400 to 599.
	Status int
	// Name is a short and stable one of the rule, for logs; "" for that of Status.
	Name string
	// Code is a short name for programs, where the status alone does not say enough: see Config.PostError.
	Code string
	// Reason is one line for the reader of the answer. It says what to change, and repeats no byte of the request: the
	// query or a header may hold a secret.
	Reason string
	// Detail says more to an operator, and may say what was sent, as far as it is no secret. "" for no more than Reason.
	Detail string
	// Header has further header lines, as Retry-After with a 503. Those about length, type and connection
	// are set by the engine.
	Header http.Header
}

// append appends the whole response to dst. The connection is closed behind it.
func (r *Refusal) append(dst []byte) []byte {
	return append(append(r.appendHead(dst), r.Reason...), '\n')
}

// appendHead appends the response without its body, which is the whole answer to a HEAD (RFC 9110, 9.3.2).
func (r *Refusal) appendHead(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(r.Status)...)
	if r.Status == http.StatusUpgradeRequired {
		dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: upgrade, close"...) // RFC 9110, 7.8 and 15.5.22
	} else {
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(r.Reason)+1), 10)
	dst = append(dst, "\r\n"...)
	if len(r.Header) > 0 {
		b := bytes.NewBuffer(dst)
		_ = r.Header.Write(b) // a Buffer takes all
		dst = b.Bytes()
	}
	return append(dst, "\r\n"...)
}
