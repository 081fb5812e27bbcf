// Package token says who a client is and what it may do. It knows nothing of connections, topics' contents
// or Redis; all of it may be called from any goroutine, and nothing but [Verifier.Run] waits.
//
// # What enters, what leaves
//
//	handshake ─▶ FromRequest ─▶ Verifier.Verify ─▶ Claims: user, *Rights, expiry
//	                               │ ErrNeedsFetch: the key may be one that is not in memory yet
//	                               └▶ Verifier.VerifyLater ─▶ Verifier.Run fetches the key set ─▶ done(Claims)
//	a session's start ─▶ Sealer.Seal ─▶ the client ─▶ any node: Sealer.Open ─▶ Resume
//
// # What a token must look like
//
// A JWT in compact form, up to 8 KiB, signed with HS256/384/512, RS*, PS*, ES256/384/512 or EdDSA by a key that
// is of the algorithm's type: a public key never serves as an HMAC secret, and "none" is no algorithm here.
// Claims: sub (required: the user, up to 250 bytes of UTF-8 without control characters), exp (required
// unless configured otherwise), nbf, iat, iss, aud, and topics:
//
//	"topics": {"subscribe": ["news:*", "room:{sub}:*"], "publish": ["chat:lobby"]}
//	"topics": ["news:*"]        subscribe only
//
// A pattern is a topic's name, or the beginning of one followed by "*". "{sub}" stands for the user,
// literally: a user named "*" gains nothing. Put a separator behind it: "room{sub}*" lets user 1 into room12.
// A topics claim replaces the defaults as a whole; a list that it lacks is empty, and what no pattern allows
// is denied. Two things stay denied whatever a claim says, by the session and not here: topics that begin with
// "$", and another user's "user:<id>", even if a pattern names it.
//
// # Who owns what
//
// Keys in memory are an immutable list behind an atomic pointer. The key set of a URL is fetched by
// [Verifier.Run] alone, one fetch at a time; tokens that wait for it are a bounded list and hold up nobody else. [Rights] never change once made, so that
// all sessions with equal claims share one, whoever their users are.
//
// Errors are the sentinels of errors.go, whose texts may be shown to clients. No error contains a token, a
// secret or a part of one.
package token
