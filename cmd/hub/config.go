package main

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// config is every setting of the hub. A field is a flag, an environment variable (HUB_ and the flag's
// name), an entry of --help and a row of the README's table. Its tags, beside kong's own:
//
//	share   n: at most the n-th part of the memory, where the setting is not given
//	range   lowest and highest value that is accepted, in the field's unit
//	zero    what 0 stands for, where 0 is accepted besides the range
//	also    a second environment variable
//	example what .env.example shows where there is no default
//	sep     what separates several values; a comma without it, "none" where only flags and lines do
//	secret  "value": never printed; "url", of several "urls", "hooks" behind an id: printed without its password and the values of its
//	        query; "redis": printed without its passwords
type config struct {
	Addr                     string        `group:"Public port" placeholder:"HOST:PORT" help:"Where clients connect: host and port, or a host alone, as 0.0.0.0, whose port is --port. Default: 127.0.0.1 and --port."`
	Port                     int           `group:"Public port" default:"3000" also:"WS_PORT" range:"0..65535" help:"Port, where --addr has none; 0 takes a free one."`
	Path                     string        `group:"Public port" default:"/notification" help:"The path that clients of hub.v1 and plain ones open."`
	CentrifugoPath           string        `group:"Public port" default:"/connection/websocket" help:"The path that SDKs of Centrifugo open by WebSocket; off closes it, and those of its streams: /connection/sse, /connection/http_stream, /emulation."`
	TLSCert                  string        `name:"tls-cert" group:"Public port" placeholder:"FILE" help:"PEM file of the public port's certificate, with those that lead to its authority: the port then speaks TLS only. It is read anew when it changes, and at SIGHUP."`
	TLSKey                   string        `name:"tls-key" group:"Public port" placeholder:"FILE" help:"PEM file of the private key of --tls-cert."`
	TLSDir                   string        `name:"tls-dir" group:"Public port" placeholder:"DIRECTORY" help:"Directory of certificates, chosen by the name that a client asks for: NAME.crt or NAME.pem with NAME.key, or folders with fullchain.pem and privkey.pem, or tls.crt and tls.key. It is read as --tls-cert is, which is for all other names; without that the one named default, or else the first."`
	TLSMin                   string        `name:"tls-min" group:"Public port" default:"1.2" enum:"1.2,1.3" help:"Lowest version of TLS."`
	TLSClientCA              string        `name:"tls-client-ca" group:"Public port" placeholder:"FILE" help:"PEM file of the authorities of clients' certificates. Default: clients need none."`
	TLSClientAuth            string        `name:"tls-client-auth" group:"Public port" default:"required" enum:"required,optional" help:"Whether clients need a certificate of --tls-client-ca; optional lets those in that show none, and refuses those of others."`
	TLSHandshakes            int           `name:"tls-handshakes" group:"Public port" default:"4096" range:"1..65536" help:"TLS handshakes at one time; with more the ones end whose client has been silent for longest. A quarter of them from one address, of IPv6 one /64."`
	Open                     bool          `group:"Public port" default:"false" help:"Let everybody in on an address that others can reach. Without it a hub without keys for tokens listens on loopback only."`
	TrustUserParam           bool          `group:"Public port" default:"false" help:"Believe ?user= on an address that others can reach. Anybody can then claim to be any user."`
	HandshakeRate            int           `group:"Public port" default:"0" range:"1..1000000" zero:"no limit" help:"Handshakes per second, a quarter of it kept for clients that come back; over it they are answered 503 with Retry-After."`
	Origins                  []string      `group:"Public port" example:"https://example.com,https://*.example.com" placeholder:"ORIGIN" help:"Web pages that may connect besides those of the hub's own host and of loopback, as in https://example.com or https://*.example.com; null or file:// for pages without a host, as of Electron; * for all."`
	MaxConnections           int           `group:"Public port" default:"0" range:"1..67108864" zero:"as many as the open-file limit allows" help:"Connections at one time; more are answered 503. Sockets whose handshake has not come whole take no place."`
	MaxConnectionsPerAddress int           `group:"Public port" default:"0" range:"1..67108864" zero:"no limit" help:"Connections of one client address at one time, of IPv6 those of a /64; more are answered 429 with Retry-After. Behind a proxy --client-address must say where the address stands."`
	HandshakeRatePerAddress  int           `group:"Public port" default:"0" range:"1..1000000" zero:"no limit" help:"Handshakes of one client address per second, as many at once, of IPv6 those of a /64; more are answered 429 with Retry-After."`
	ClientAddress            string        `group:"Public port" default:"socket" enum:"socket,x-forwarded-for,forwarded,proxy" help:"Where the address of a client stands: it is the socket's, or a proxy tells it in the header X-Forwarded-For or Forwarded, or by the PROXY protocol (versions 1 and 2), without which nobody is let in then."`
	TrustedProxies           []string      `group:"Public port" example:"10.0.0.0/8" placeholder:"NETWORK" help:"Addresses and networks of the proxies that are believed about --client-address, as in 10.0.0.0/8 or 2001:db8::7. All others come for themselves: their headers are passed over, their PROXY protocol refused. Whoever is in these networks can claim any address."`
	HandshakeTimeout         time.Duration `group:"Public port" default:"10s" range:"100ms..1h" help:"Time for the opening handshake."`
	Heartbeat                time.Duration `group:"Public port" default:"25s" range:"100ms..24h" help:"Time between two pings to one client. One that is silent for as long after a ping is dead."`
	MessageTimeout           time.Duration `group:"Public port" default:"30s" range:"100ms..1h" help:"Time from a message's first byte to its last."`
	MaxHead                  byteSize      `group:"Public port" default:"16KiB" range:"4KiB..64KiB" help:"Largest HTTP head of a handshake in bytes, cookies and tokens included; more is answered 431."`
	MaxMessage               byteSize      `group:"Public port" default:"64KiB" range:"1..64MiB" help:"Largest message, from a client or a backend, in bytes."`
	Compression              string        `group:"Public port" default:"off" enum:"off,on" help:"Compress events for clients that offer permessage-deflate, as browsers do, and let them compress what they send. One compressed form of an event goes to all."`
	CompressionThreshold     byteSize      `group:"Public port" default:"256" range:"1..64MiB" help:"Smallest event that is compressed, in bytes."`
	CompressionWindow        int           `group:"Public port" default:"15" range:"9..15" help:"Largest window that clients need to inflate events, in bits: 15 stands for 32 KiB. A smaller one spares their memory, and costs bytes and CPU."`
	CompressionExcept        []string      `group:"Public port" example:"user:*" placeholder:"PATTERN" help:"Topics whose events are never compressed, as in user:*: of topics that begin with user:, * for all. Needed where an event holds a secret beside text that somebody else chose, who can see its size."`
	MaxQueued                byteSize      `group:"Public port" default:"256KiB" range:"1KiB..256MiB" help:"Bytes that may wait for one client; with more it is cut as a slow consumer if nothing leaves for a second, or if it does not catch up."`
	MaxPartial               byteSize      `group:"Public port" default:"256MiB" share:"8" range:"1KiB..1TiB" help:"Bytes of half-received messages of all clients; over it the largest are cut. Not given, it is at most 1/8 of the memory."`
	MaxBacklog               byteSize      `group:"Public port" default:"1GiB" share:"4" range:"1KiB..1TiB" help:"Bytes that may wait for all clients; over it the slowest are cut. Not given, it is at most 1/4 of the memory."`
	SendBuffer               byteSize      `group:"Public port" default:"128KiB" range:"4KiB..64MiB" help:"Kernel send buffer of one connection in bytes; Linux doubles it. Not given, it is at most 1/8192 of a container's memory where the kernel's buffers count there (control groups version 2)."`
	ReadBuffer               byteSize      `group:"Public port" default:"64KiB" range:"4KiB..16MiB" help:"Read buffer of one event loop in bytes."`
	Pollers                  int           `group:"Public port" default:"0" range:"1..64" zero:"one per CPU" help:"Event loops. Each owns its share of the connections."`

	Broadcast          string `group:"Topics" default:"channel" help:"The topic that plain clients follow and publish to."`
	MaxTopics          int    `group:"Topics" default:"128" range:"1..65535" help:"Topics that one session may follow."`
	MaxNodeTopics      int    `group:"Topics" default:"4000000" range:"1..1073741824" help:"Subscriptions of all sessions of this process together."`
	MaxSessionsPerUser int    `group:"Topics" default:"0" range:"1..1048576" zero:"no limit" help:"Sessions of one user on this process."`
	MessageRate        int    `group:"Topics" default:"100" range:"1..1000000" zero:"no limit" help:"Messages per second that one client may send."`
	MessageBurst       int    `group:"Topics" default:"200" range:"1..1048576" help:"Messages that one client may send at once."`
	Workers            int    `group:"Topics" default:"4" range:"1..1024" help:"Goroutines that talk to the broker on behalf of sessions."`

	History      []string `group:"History" sep:";" example:"news:*=1000,10m;user:*=100,1h" placeholder:"PATTERN=COUNT,AGE" help:"Histories to keep, as in news:*=1000,10m: of topics that begin with news: at least the newest 1000 events, for 10 minutes. Each pattern ends in *, which alone is for all topics; =0 keeps none; without an age it is 10m. The first pattern that fits a topic holds; several in one variable are separated by semicolons. All instances must have the same. Default: nothing."`
	HistoryBytes byteSize `group:"History" default:"0" range:"1MiB..1TiB" zero:"256MiB, or a quarter of --memory-limit if that is less" help:"Bytes that are kept of all topics together without Redis, which has its own maxmemory; over it the oldest go first."`
	ReplayLimit  int      `group:"History" default:"1000" range:"1..100000" help:"Events of one topic that a client gets when it comes back; a client that missed more gets recovered:false."`
	ResumeKey    []string `group:"History" sep:"none" secret:"value" placeholder:"KEY" help:"Key that seals resume tokens, 32 random bytes as base64 or hex (openssl rand -base64 32), the same on all instances; several while keys change, one a line or in repeated flags, the first one seals. Default: one that the instances share in Redis, or without Redis a random one."`

	Presence          []string      `group:"Presence" example:"room:*" placeholder:"PATTERN" help:"Topics with a presence, as in room:*: of topics that begin with room: others can see who follows them. * alone is for all topics. All instances must have the same. Default: none."`
	PresenceGrace     time.Duration `group:"Presence" default:"5s" range:"100ms..5m" help:"Time that a client which disconnects stays present, so that nobody is told of one that comes back. All instances must have the same."`
	PresenceEventsMax int           `group:"Presence" default:"1000" range:"1..100000" help:"Members of one topic up to which those who watch it are told of each that joins or leaves; of more they are told counts, once a second at most. All instances must have the same."`

	Lifecycle    string `group:"Lifecycle" default:"off" enum:"off,on" help:"Whether sessions that open and close, users that come online and go offline, and topics of --presence that are occupied and vacated are entries of a stream, which backends read from Redis. Leaving waits for --presence-grace. All instances must have the same."`
	LifecycleMax int    `group:"Lifecycle" default:"100000" range:"1000..100000000" help:"Entries that a stream keeps at least; older ones are gone. A Redis Cluster has 256 streams."`

	Webhook             []string      `group:"Webhooks" sep:"none" secret:"urls" placeholder:"URL" help:"Where entries of the lifecycle streams are posted, https, or with --webhook-allow-private http; several one a line or in repeated flags, up to 16, each independent of the others. Takes --lifecycle=on. All instances must have the same."`
	WebhookSecret       []string      `group:"Webhooks" sep:"none" secret:"value" placeholder:"SECRET" help:"Secret that signs the requests: whsec_ and 24 to 64 random bytes as base64, as printed by echo whsec_$(openssl rand -base64 32); several while secrets change, one a line or in repeated flags, each gives a signature."`
	WebhookRetry        time.Duration `group:"Webhooks" default:"1h" range:"1s..168h" help:"Time that requests are tried again, from the first try on; then their events are counted as dead letters, and those behind them follow."`
	WebhookEvents       []string      `group:"Webhooks" example:"user_online,user_offline" placeholder:"TYPE" help:"Types of the events that are posted: session_opened, session_closed, user_online, user_offline, topic_occupied, topic_vacated, user_joined, user_left; reset always is. Default: all."`
	WebhookAllowPrivate bool          `group:"Webhooks" default:"false" help:"Post to private addresses, too: of loopback, of this network, link-local and the like, as an endpoint's name leads to them at each request."`

	JWTSecret        []string      `name:"jwt-secret" group:"Tokens" sep:"none" secret:"value" placeholder:"SECRET" help:"Secret of at least 32 bytes for tokens signed with HS256, HS384 or HS512; several while secrets change, one a line or in repeated flags."`
	JWTKey           []string      `name:"jwt-key" group:"Tokens" placeholder:"FILE" help:"PEM file of public keys or certificates (RSA, EC, Ed25519) for signed tokens; several are all accepted."`
	JWKSURL          string        `name:"jwks-url" group:"Tokens" secret:"url" placeholder:"URL" help:"URL of the issuer's key set, https or on loopback http; fetched every 15 minutes and when a token names a key that is not known."`
	JWTAud           []string      `name:"jwt-aud" group:"Tokens" placeholder:"NAME" help:"Names of this hub: a token must be for one of them. Set it if the issuer serves others, too. Default: any token of the issuer."`
	JWTIss           string        `name:"jwt-iss" group:"Tokens" placeholder:"NAME" help:"The issuer that a token must name. Default: any issuer that has the key."`
	JWTSkew          time.Duration `name:"jwt-skew" group:"Tokens" default:"30s" range:"0s..10m" help:"Tolerated difference between the issuer's clock and this one."`
	AuthGrace        time.Duration `group:"Tokens" default:"10s" range:"100ms..1h" help:"Time to send another token when the session's expires."`
	DefaultSubscribe []string      `group:"Tokens" example:"news:*,room:{sub}" placeholder:"PATTERN" help:"Topics that a session without a topics claim in its token may follow, as in news:* or room:{sub}; its user's own one always. Default: the broadcast topic; in an open hub all."`
	DefaultPublish   []string      `group:"Tokens" placeholder:"PATTERN" help:"Topics that such a session may publish to. Default: none; in an open hub all."`
	DefaultPresence  []string      `group:"Tokens" example:"room:*" placeholder:"PATTERN" help:"Topics of --presence whose members a session may see that has no presence claim in its token. Default: none; in an open hub all."`

	RedisURL      string        `group:"Redis" also:"REDIS_URL" secret:"redis" placeholder:"URL" help:"The Redis that instances share: redis://[user:password@]host:port[/db], rediss:// for TLS, unix:///path, redis+sentinel://[user:password@]host:port,host:port/master-name[/db][?sentinel_user=…&sentinel_password=…] or redis+cluster://[user:password@]host:port,host:port, the last two with rediss+ for TLS. Default: none, events stay in this process."`
	RedisPrefix   string        `group:"Redis" default:"hub" placeholder:"NAME" help:"Beginning of the names of all keys and channels, up to 64 letters, digits, -, _, . and, within, :. Deployments that share a Redis need one each, also in different databases: channels know none. With another one the broadcast topic's channel gets it, too, as in shop:channel. All instances must have the same."`
	RedisCA       string        `name:"redis-ca" group:"Redis" placeholder:"FILE" help:"PEM file of the authorities that sign the certificates of Redis. Default: those of this machine."`
	RedisCert     string        `group:"Redis" placeholder:"FILE" help:"PEM file of this hub's certificate for Redis, with those that lead to its authority."`
	RedisKey      string        `group:"Redis" placeholder:"FILE" help:"PEM file of the private key of --redis-cert."`
	RedisWait     int           `group:"Redis" default:"0" range:"0..16" help:"Replicas that must have a publication before it is confirmed; without them in time its outcome is unknown_outcome. With 0 a failover may lose confirmed events."`
	RedisGather   time.Duration `group:"Redis" default:"0s" range:"0s..10ms" help:"How long events from Redis gather before they are delivered together, while more than 4,000 a second come: each comes later by that at most, and they cost less. 0: they are delivered as they come."`
	RedisPoolSize int           `group:"Redis" default:"10" range:"1..1024" help:"Connections that publish and read; the subscriber has its own."`
	Node          string        `group:"Redis" placeholder:"NAME" help:"This instance's name to others, unique among them. Default: host name and process number."`

	Control string   `group:"Control port" default:"127.0.0.1:3001" help:"Address of probes, metrics and the API; off for none."`
	APIKey  []string `group:"Control port" sep:"none" secret:"value" placeholder:"KEY" help:"Key for /api and /debug, at least 16 characters; several while keys change, one a line or in repeated flags. Without one they answer to loopback only."`

	ConsoleKey     []string `group:"Control port" sep:"none" secret:"value" placeholder:"KEY" help:"Key that may look at the fleet (GET /api/nodes and the like), and do nothing, at least 16 characters; several one a line or in repeated flags. Default: whoever may use the API."`
	ControlTLSCert string   `name:"control-tls-cert" group:"Control port" placeholder:"FILE" help:"PEM file of the control port's certificate, with those that lead to its authority: the port then speaks TLS. It is read anew when it changes."`
	ControlTLSKey  string   `name:"control-tls-key" group:"Control port" placeholder:"FILE" help:"PEM file of the private key of --control-tls-cert."`

	PusherApp               []string `group:"Pusher" sep:"none" secret:"value" placeholder:"ID:KEY:SECRET" help:"Application whose clients and backends speak Pusher's protocol: clients at /app/KEY of the public port, backends at /apps/ID of the control port, guarded by the secret alone; several one a line or in repeated flags. Its channels are its own: nobody else can name them. All instances must have the same. Default: none."`
	PusherShare             []string `group:"Pusher" placeholder:"ID" help:"Applications of --pusher-app whose channels are the hub's topics instead, which other protocols know. Public channels then need a right as other clients without a token have it (--default-subscribe)."`
	PusherWebhook           []string `group:"Pusher" sep:"none" secret:"hooks" placeholder:"ID=URL" help:"Where webhooks of an application of --pusher-app are posted in Pusher's form: channel_occupied, channel_vacated, member_added, member_removed; https, or with --webhook-allow-private http; several one a line or in repeated flags, up to 32. Takes --lifecycle=on. All instances must have the same."`
	PusherAPI               string   `name:"pusher-api" group:"Pusher" default:"control" enum:"control,public" help:"Where backends call the HTTP API of Pusher's applications: control, at the control port, or public, at the public port, too; a request is a connection of its own there."`
	PusherSubscriptionCount bool     `group:"Pusher" default:"false" help:"Tell the subscribers of Pusher's channels, but of presence channels, how many they are, whenever that changes."`

	DrainGrace  time.Duration `group:"Stopping" default:"2s" range:"0s..1h" help:"Time between not being ready and closing the public port, for the load balancer to notice."`
	DrainWindow time.Duration `group:"Stopping" default:"30s" range:"0s..24h" help:"Time over which clients are sent away."`

	MemoryLimit byteSize `group:"Process" default:"0" range:"16MiB..1TiB" zero:"GOMEMLIMIT, or 9/10 of the memory of the container or machine" help:"Memory that the Go runtime tries to stay below, in bytes."`
	GCHeadroom  byteSize `name:"gc-headroom" group:"Process" default:"8MiB" range:"1MiB..64GiB" help:"Bytes allocated between two garbage collections, whatever the size of the heap. Lower saves memory and costs CPU."`
	LogLevel    string   `group:"Process" default:"info" enum:"trace,debug,info,warn,error" help:"Least important log lines to write."`
	TraceUser   []string `group:"Process" placeholder:"USER" help:"Users whose sessions log each step at every log level, without events' data and tokens, 1000 lines a second at most."`
	LogFormat   string   `group:"Process" default:"auto" enum:"auto,json,console" help:"Form of log lines; auto is console on a terminal, else json."`

	room  memory   // what all of it must fit into
	clean redactor // takes the secrets out of what is printed

	portUsed bool // Addr has its port from Port
}

// fill replaces what means "choose for me" by the choice.
func (c *config) fill() {
	if host, alone := loneHost(cmp.Or(c.Addr, "127.0.0.1")); alone {
		c.Addr, c.portUsed = net.JoinHostPort(host, strconv.Itoa(c.Port)), true
	}
	if c.Pollers == 0 {
		c.Pollers = min(cores, engine.MaxPollers)
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = engine.ConnectionLimit()
	}
	if c.HistoryBytes == 0 {
		c.HistoryBytes = pubsub.DefaultHistoryBytes
		if c.MemoryLimit > 0 {
			c.HistoryBytes = min(c.HistoryBytes, max(c.MemoryLimit/4, 1<<20))
		}
	}
	if c.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "hub"
		}
		c.Node = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
}

// loneHost reports whether addr is a host without a port, and which.
func loneHost(addr string) (host string, alone bool) {
	if ip, err := netip.ParseAddr(strings.Trim(addr, "[]")); err == nil {
		return ip.String(), true
	}
	_, err := strconv.Atoi(addr)
	return addr, err != nil && !strings.Contains(addr, ":") // a number is a port that was meant for --port
}

// controlOff reports whether there is no control port.
func (c *config) controlOff() bool { return c.Control == "off" }

// isOpen reports whether there are no keys for tokens, so that everybody is let in.
func (c *config) isOpen() bool {
	return len(c.JWTSecret)+len(c.JWTKey) == 0 && c.JWKSURL == ""
}

// secrets are the values that must not be seen anywhere.
func (c *config) secrets() []string {
	return slices.Concat(redisSecrets(c.RedisURL), urlSecrets(c.JWKSURL), querySecrets(c.JWKSURL), c.APIKey, c.ConsoleKey, c.JWTSecret, c.ResumeKey, c.pusherSecrets(), c.WebhookSecret, c.webhookURLSecrets(), c.pusherHookSecrets())
}
