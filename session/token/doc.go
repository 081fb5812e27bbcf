// Package token finds a client's user and rights. It knows nothing of connections, topics' contents
// or Redis; all of it may be called from any goroutine, and nothing but [Verifier.Run] waits.
//
// # What enters, what leaves
//
//	handshake ─▶ FromRequest ─▶ Verifier.Verify ─▶ Claims: user, *Rights, expiry
//	                               │ ErrNeedsFetch: the key may be one that is not in memory yet
//	                               └▶ Verifier.VerifyLater ─▶ Verifier.Run fetches the key set ─▶ done(Claims)
//	a session's start ─▶ Sealer.Seal ─▶ the client ─▶ any node: Sealer.Open ─▶ Resume
//
// # The form of a token
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
// A topics claim replaces the defaults as a whole; a list that it lacks is empty, and a topic that no pattern allows
// is denied. Another user's "user:<id>" stays denied whatever a claim says, by the session and not here.
//
// A topic that begins with "$" is private. No pattern lets a client follow it or read its history: the claims channels
// or subs must name it, or a subscription token. To publish to it takes a pattern that begins with "$", too.
//
// # Centrifugo's claims
//
// These are optional, too. A claim that can't be used is left out and stands in [Claims.Notes]; the token stays good.
//
//	"info": {"name": "Ann"}, "b64info": "eyJuYW1lIjoiQW5uIn0="   one of them, up to 1 KiB
//	"channels": ["news"], "subs": {"$room": {"info": {}}}          up to 128 topics to follow, and the right to
//	"caps": [{"channels": ["a:*"], "match": "wildcard", "allow": ["sub", "pub", "hst", "prs"]}]
//	"expire_at": 1735689600                                        when the connection ends; 0: never, whatever exp says
//
// The rights of caps come to those of topics or the defaults. Without a match a cap's channels are names as they stand;
// in "wildcard" ones "*" at the end stands for anything. Entries with "regex" are ignored. A right to follow by anything but
// a cap includes the history; a right by a cap needs "hst" for that. A cap opens no private topic but to
// publishers. Up to 64 channels a right.
//
// A subscription token lets one user follow one topic ([Verifier.VerifySubscription]). Its claims are sub, channel and exp;
// info, b64info and expire_at are optional. It lets nobody connect: with its few claims it would get the defaults.
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
