package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"time"

	"wshub/engine"
)

// config is every setting of the hub. A field is a flag, an environment variable (HUB_ and the flag's
// name), an entry of --help and a row of the README's table. Its tags, beside kong's own:
//
//	range   lowest and highest value that is accepted, in the field's unit
//	zero    what 0 stands for, where 0 is accepted besides the range
//	also    a second environment variable
//	secret  "value" or "password" (of a URL): never printed
type config struct {
	Addr             string        `group:"Public port" placeholder:"HOST:PORT" help:"Where clients connect. Default: 127.0.0.1 and --port."`
	Port             int           `group:"Public port" default:"3000" also:"WS_PORT" range:"0..65535" help:"Port on 127.0.0.1, where --addr is not given; 0 takes a free one."`
	Path             string        `group:"Public port" default:"/notification" help:"The one path that clients may open."`
	Open             bool          `group:"Public port" default:"false" help:"Let everybody in on an address that others can reach. Without it a hub without keys listens on loopback only."`
	TrustUserParam   bool          `group:"Public port" default:"false" help:"Believe ?user= on an address that others can reach. Anybody can then claim to be any user."`
	Origins          []string      `group:"Public port" placeholder:"ORIGIN" help:"Web pages that may connect besides those of the hub's own host and of loopback, as in https://example.com or https://*.example.com; * for all."`
	MaxConnections   int           `group:"Public port" default:"0" range:"1..67108864" zero:"as many as the open-file limit allows" help:"Connections at one time; more are answered 503."`
	HandshakeTimeout time.Duration `group:"Public port" default:"10s" range:"100ms..1h" help:"Time for the opening handshake."`
	Heartbeat        time.Duration `group:"Public port" default:"25s" range:"100ms..24h" help:"Time between two pings to one client. One that is silent for as long after a ping is dead."`
	MessageTimeout   time.Duration `group:"Public port" default:"30s" range:"100ms..1h" help:"Time from a message's first byte to its last."`
	MaxMessage       byteSize      `group:"Public port" default:"64KiB" range:"1..64MiB" help:"Largest message, from a client or a backend, in bytes."`
	MaxQueued        byteSize      `group:"Public port" default:"256KiB" range:"1KiB..256MiB" help:"Bytes that may wait for one client; over it the client is cut as a slow consumer."`
	MaxPartial       byteSize      `group:"Public port" default:"256MiB" range:"1KiB..1TiB" help:"Bytes of half-received messages of all clients; over it the largest are cut."`
	MaxBacklog       byteSize      `group:"Public port" default:"1GiB" range:"1KiB..1TiB" help:"Bytes that may wait for all clients; over it the slowest are cut."`
	SendBuffer       byteSize      `group:"Public port" default:"128KiB" range:"4KiB..64MiB" help:"Kernel send buffer of one connection in bytes; Linux doubles it."`
	ReadBuffer       byteSize      `group:"Public port" default:"64KiB" range:"4KiB..16MiB" help:"Read buffer of one event loop in bytes."`
	Pollers          int           `group:"Public port" default:"0" range:"1..64" zero:"one per CPU" help:"Event loops. Each owns its share of the connections."`

	Broadcast          string `group:"Topics" default:"channel" help:"The topic that plain clients follow and publish to."`
	MaxTopics          int    `group:"Topics" default:"128" range:"1..65535" help:"Topics that one session may follow."`
	MaxNodeTopics      int    `group:"Topics" default:"4000000" range:"1..1073741824" help:"Subscriptions of all sessions of this process together."`
	MaxSessionsPerUser int    `group:"Topics" default:"0" range:"1..1048576" zero:"no limit" help:"Sessions of one user on this process."`
	MessageRate        int    `group:"Topics" default:"100" range:"1..1000000" zero:"no limit" help:"Messages per second that one client may send."`
	MessageBurst       int    `group:"Topics" default:"200" range:"1..1048576" help:"Messages that one client may send at once."`
	Workers            int    `group:"Topics" default:"4" range:"1..1024" help:"Goroutines that talk to the broker on behalf of sessions."`

	RedisURL      string `group:"Redis" also:"REDIS_URL" secret:"password" placeholder:"URL" help:"The Redis that instances share, redis://[user:password@]host:port[/db] or rediss:// for TLS. Default: none, events stay in this process."`
	RedisPoolSize int    `group:"Redis" default:"10" range:"1..1024" help:"Connections that publish and read; the subscriber has its own."`
	Node          string `group:"Redis" placeholder:"NAME" help:"This instance's name to others, unique among them. Default: host name and process number."`

	Control string   `group:"Control port" default:"127.0.0.1:3001" help:"Where probes, metrics and the API are served; off for nowhere."`
	APIKey  []string `group:"Control port" secret:"value" placeholder:"KEY" help:"Key for /api and /debug, at least 16 characters; several while keys change. Without one they answer to loopback only."`

	DrainGrace  time.Duration `group:"Stopping" default:"2s" range:"0s..1h" help:"Time between being not ready and letting nobody in any more, for the load balancer to notice."`
	DrainWindow time.Duration `group:"Stopping" default:"30s" range:"0s..24h" help:"Time over which clients are sent away."`

	MemoryLimit byteSize `group:"Process" default:"0" range:"16MiB..1TiB" zero:"GOMEMLIMIT, or none" help:"Memory that the Go runtime tries to stay below, in bytes."`
	GCHeadroom  byteSize `name:"gc-headroom" group:"Process" default:"8MiB" range:"1MiB..64GiB" help:"Bytes allocated between two garbage collections, whatever the size of the heap. Lower saves memory and costs CPU."`
	LogLevel    string   `group:"Process" default:"info" enum:"trace,debug,info,warn,error" help:"Least important log lines to write."`
	LogFormat   string   `group:"Process" default:"auto" enum:"auto,json,console" help:"Form of log lines; auto is console on a terminal, else json."`
}

// fill replaces what means "choose for me" by the choice.
func (c *config) fill() {
	if c.Addr == "" {
		c.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port))
	}
	if c.Pollers == 0 {
		c.Pollers = min(runtime.GOMAXPROCS(0), engine.MaxPollers)
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = engine.ConnectionLimit()
	}
	if c.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "hub"
		}
		c.Node = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
}

// controlOff tells whether there is no control port.
func (c *config) controlOff() bool { return c.Control == "off" }

// secrets are the values that must not be seen anywhere.
func (c *config) secrets() []string {
	return append(urlSecrets(c.RedisURL), c.APIKey...)
}
