package reasons

// remedyOf is what can be done about a Reason of this kind and rule, "" where its text says all.
func remedyOf(kind Kind, rule string) string { return remedies[budgetKey{kind, rule}] }

var remedies = map[budgetKey]string{
	{Handshake, "origin"}:           "--origins lets pages of this address in; a proxy before the hub must hand Host through",
	{Handshake, "path"}:             "clients connect to --path",
	{Handshake, "topic"}:            "the token's claim topics, or --default-subscribe, must allow it: hub token verify shows what a token allows",
	{Handshake, "unavailable"}:      "a full hub has --max-connections; what another one lacks, /readyz says",
	{Handshake, "keys_unavailable"}: "the keys of --jwks-url can't be fetched: /readyz says why",
	{Handshake, "key_wait_full"}:    "the keys of --jwks-url come slowly or not at all",
	{Handshake, "no_websocket"}:     "it is no WebSocket handshake: a proxy on the way must pass Upgrade and Connection",

	{Handshake, "address_connections"}: "--max-connections-per-address bounds them; behind a proxy --client-address says where a client's address stands",
	{Handshake, "address_rate"}:        "--handshake-rate-per-address bounds them; behind a proxy --client-address says where a client's address stands",
	{Handshake, "address_table_full"}:  "more addresses came at once than --handshake-rate-per-address can count: --handshake-rate bounds all together",
	{Handshake, "untrusted_proxy"}:     "--trusted-proxies names the networks of the proxies, and only they may come with --client-address=proxy",
	{Handshake, "proxy_head"}:          "the PROXY protocol is on in the proxy (send-proxy-v2, proxy_protocol) if, and only if, --client-address=proxy is set",

	{Token, "missing"}:     "the client sends its token as Authorization: Bearer, as the subprotocol bearer.<token>, or as ?token=",
	{Token, "malformed"}:   "hub token verify explains a token",
	{Token, "signature"}:   "--jwt-secret, --jwt-key or --jwks-url must be the issuer's: hub token verify explains a token",
	{Token, "key"}:         "--jwt-secret, --jwt-key or --jwks-url must be the issuer's: hub token verify explains a token",
	{Token, "aud"}:         "the issuer puts the hub's name into aud, and --jwt-aud accepts it",
	{Token, "iss"}:         "--jwt-iss names the issuer as it stands in iss",
	{Token, "sub"}:         "the issuer puts the user's id into sub",
	{Token, "exp"}:         "the client fetches another token before expires_in is over; the clocks of issuer and hub agree, or --jwt-skew is larger",
	{Token, "nbf"}:         "the clocks of issuer and hub agree, or --jwt-skew is larger",
	{Token, "iat"}:         "the clocks of issuer and hub agree, or --jwt-skew is larger",
	{Token, "revoked"}:     "a token that was issued after the revocation is let in",
	{Token, "unavailable"}: "the keys of --jwks-url can't be fetched: /readyz says why",

	{Topic, "forbidden"}:       "the token's claim topics, or --default-subscribe and --default-publish, must allow it: hub token verify shows what a token allows",
	{Topic, "too_many_topics"}: "--max-topics bounds what one session follows",

	{Cut, "slow_consumer"}:     "its network or its page is too slow for its topics: it follows fewer, or --max-queued is larger",
	{Cut, "backlog_limit"}:     "--max-backlog bounds what waits for all clients",
	{Cut, "partial_limit"}:     "--max-partial bounds what was half received of all clients",
	{Cut, "heartbeat"}:         "the client is gone, or a proxy on the way keeps its connection; --heartbeat is the time between two pings",
	{Cut, "message_timeout"}:   "--message-timeout is how long one message may take",
	{Cut, "too_big"}:           "--max-message bounds one message",
	{Cut, "inflate_bomb"}:      "--max-message bounds one message, inflated",
	{Cut, "rate_limit"}:        "--message-rate and --message-burst bound what one client sends",
	{Cut, "token_expired"}:     "the client sends auth with another token before expires_in is over; --auth-grace is how long it may be late",
	{Cut, "too_many_sessions"}: "--max-sessions-per-user bounds them",
	{Cut, "replaced"}:          "each page keeps its own resume token: a copied page takes the session over",

	{Drop, "rate_limit"}:          "--message-rate and --message-burst bound what one client sends",
	{Drop, "worker_queue_full"}:   "redis is slow or away (/readyz, wshub_broker_reconnects_total), or --workers are too few",
	{Drop, "history_queue_full"}:  "the client waits for answers before it asks for more",
	{Drop, "inbox_full"}:          "the hub has too little CPU for its events: more hubs, or other --pollers",
	{Drop, "key_wait_full"}:       "the keys of --jwks-url come slowly or not at all",
	{Handshake, "handshake_rate"}: "--handshake-rate bounds them",
	{Handshake, "node_topics"}:    "--max-node-topics bounds the subscriptions of all sessions",
}
