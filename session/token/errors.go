package token

import "errors"

// Why a client is not let in. The texts may be shown to it. Some come wrapped, with the name of the claim
// in question.
var (
	ErrMissing   = errors.New("no token was given")
	ErrAmbiguous = errors.New("more than one token was given")

	// ErrBadToken: too long, or not what a token looks like, or not sealed by us.
	ErrBadToken     = errors.New("the token is malformed")
	ErrBadSignature = errors.New("the token's signature does not fit")
	ErrUnknownKey   = errors.New("the token's key is not known here")
	ErrExpired      = errors.New("the token has expired")
	ErrNotYet       = errors.New("the token is not valid yet")
	// ErrBadClaims: signed by the right key, but a claim is missing, malformed or not for this hub.
	ErrBadClaims = errors.New("the token's claims are not accepted")

	// ErrNeedsFetch: ask VerifyLater. Not for clients.
	ErrNeedsFetch = errors.New("the token's key is not in memory")
	// ErrUnavailable: keys can't be had at the moment; the same token may be good later.
	ErrUnavailable = errors.New("tokens can't be checked at the moment")
)
