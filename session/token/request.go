package token

import (
	"net/http"
	"net/url"
	"strings"
)

// bearerPrefix begins an offered "subprotocol" that is a token: browsers can't set a header.
const bearerPrefix = "bearer."

// FromRequest finds the token of a handshake: in "Authorization: Bearer", among the offered subprotocols as
// "bearer.<token>", or in the query as "token". It may be in several places if it is the same.
// ErrMissing, ErrAmbiguous, or ErrBadToken if it is longer than any token may be.
func FromRequest(header http.Header, subprotocols []string, query url.Values) (string, error) {
	var found string
	for _, list := range [][]string{bearers(header.Values("Authorization")), offered(subprotocols), query["token"]} {
		for _, token := range list {
			switch {
			case token == "" || token == found:
			case found != "":
				return "", ErrAmbiguous
			default:
				found = token
			}
		}
	}
	switch {
	case found == "":
		return "", ErrMissing
	case len(found) > maxToken:
		return "", ErrBadToken
	}
	return found, nil
}

// bearers are the credentials of the Bearer scheme; those of other schemes are a proxy's (RFC 9110, 11.4).
func bearers(values []string) (tokens []string) {
	for _, value := range values {
		scheme, token, _ := strings.Cut(strings.TrimSpace(value), " ")
		if strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, strings.TrimLeft(token, " "))
		}
	}
	return tokens
}

func offered(subprotocols []string) (tokens []string) {
	for _, name := range subprotocols {
		if token, ok := strings.CutPrefix(name, bearerPrefix); ok {
			tokens = append(tokens, token)
		}
	}
	return tokens
}
