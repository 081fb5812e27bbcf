package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"time"
)

// kind is the result of a try.
type kind uint8

const (
	delivered  kind = iota
	status          // an answer of another status than 200 to 399
	redirected      // an answer of 300 to 399
	timeout         // no answer within 10 s
	address         // the name led to an address that is not allowed
	name            // the name could not be resolved
	security        // TLS could not be agreed on, as with a certificate that is not trusted
	connection      // the connection could not be made, or broke off
	canceled        // another hub reads the stream, or this one ends
	numKinds
)

var kindNames = [numKinds]string{"delivered", "status", "redirect", "timeout", "address", "name", "tls", "connection", "canceled"}

// remedies say what to do about a kind.
var remedies = [numKinds]string{
	status:     "look at the endpoint's log; it should answer 204, and verify the signature with the secret that the hubs have",
	redirected: "set the URL that the redirect leads to",
	timeout:    "have the endpoint answer within 10 s: let it store the events, answer, and then work",
	address:    "--webhook-allow-private, where an endpoint in this network is meant; https, where it is not",
	name:       "see whether the host's name is right, and DNS works on the hubs' machines",
	security:   "see whether the endpoint's certificate is valid, and its authority known to the hubs' machines (SSL_CERT_FILE)",
	connection: "see whether the endpoint runs, and can be reached from the hubs' machines",
}

// maxReason bounds a failure's text in bytes: some repeat a line of the answer, or all names of a certificate.
const maxReason = 300

// failure is why a try failed. Its text has no part of the URL but a host.
type failure struct {
	kind kind
	err  error
	wait time.Duration // that the endpoint asked for
}

func (f *failure) Error() string {
	text := f.err.Error()
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

// failureOf is the failure that err of a request is.
func failureOf(err error) *failure {
	var dns *net.DNSError
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.Is(err, errAddress):
		return &failure{kind: address, err: err}
	case errors.As(err, &dns) && !dns.IsTimeout:
		return &failure{kind: name, err: err}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return &failure{kind: timeout, err: errors.New("the endpoint did not answer in time")}
	case errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &record), errors.As(err, &alert):
		return &failure{kind: security, err: err}
	}
	return &failure{kind: connection, err: err}
}
