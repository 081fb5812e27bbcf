package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"time"

	"wshub/bench/fleet"
)

// Common are the settings of every scenario: the server, the clients, and the report.
// As JSON it is part of the report; what may be secret is not.
type Common struct {
	URL       guarded  `help:"Address of the server. Default: ws://127.0.0.1:3000 and the path of the protocol: /notification, /connection/websocket, or /app/ and the key of --pusher-app." group:"Server" json:"url"`
	Insecure  bool     `help:"Take any certificate of a wss:// URL." group:"Server" json:"-"`
	CA        string   `help:"PEM file of the authorities that sign the certificate of a wss:// URL. Default: those of this machine." name:"ca" placeholder:"FILE" group:"Server" json:"-"`
	Protocol  string   `help:"Protocol of the server: ${enum}." enum:"${protocols}" default:"plain" group:"Server" json:"protocol"`
	Broadcast string   `help:"The topic that plain clients follow unasked." default:"channel" group:"Server" json:"broadcast"`
	Header    []string `help:"Further handshake header, 'Name: value'. Repeatable." sep:"none" group:"Server" json:"-"`
	ServerPID []int    `help:"Processes of the server to weigh. Default: the process that listens on the port, if it is on this machine." name:"server-pid" group:"Server" json:"-"`
	Server    guarded  `help:"Command that starts the server for each run; it is stopped afterwards." placeholder:"COMMAND" group:"Server" json:"server,omitempty"`

	AllowRemote bool `help:"Allow a server that is not on loopback." group:"Server" json:"-"`

	Loops       int           `help:"Event loops per process." default:"2" group:"Clients" json:"loops"`
	Shards      int           `help:"Processes that share the clients; for more than one process's limit of open files." default:"1" group:"Clients" json:"shards"`
	Source      []string      `help:"Source addresses to connect from. Default: many of 127.0.0.0/8 for a server on loopback." group:"Clients" json:"source,omitempty"`
	ConnectRate float64       `help:"New connections a second; 0: as fast as --connecting allows." default:"0" group:"Clients" json:"connect_rate"`
	Connecting  int           `help:"Handshakes under way at a time." default:"128" group:"Clients" json:"connecting"`
	Token       string        `help:"JWT of all clients." env:"HUBBENCH_TOKEN" group:"Clients" json:"-"`
	JWTSecret   string        `help:"Secret (HS256) of the server, to make a JWT for each client, of a user of its own: u0, u1 and so on." name:"jwt-secret" aliases:"token-secret" env:"HUBBENCH_JWT_SECRET,HUBBENCH_TOKEN_SECRET" group:"Clients" json:"-"`
	PusherApp   string        `help:"Pusher application of the server, id:key:secret: clients open /app/KEY, users sign in with the secret, and --publish=pusher signs with it." name:"pusher-app" placeholder:"APP" env:"HUBBENCH_PUSHER_APP" group:"Clients" json:"-"`
	Compression string        `help:"off, or on: clients offer permessage-deflate, and must get it." enum:"off,on" default:"off" group:"Clients" json:"compression"`
	Timeout     time.Duration `help:"Limit of a handshake." default:"10s" group:"Clients" json:"timeout_ns"`
	Settle      time.Duration `help:"Rest between connecting and measuring." default:"1s" group:"Clients" json:"settle_ns"`
	MaxMessage  int           `help:"Largest message taken, bytes." default:"1048576" group:"Clients" json:"max_message"`

	Repeat   int           `help:"Runs; the result is their median, with minimum and maximum." default:"1" group:"Result" json:"repeat"`
	Interval time.Duration `help:"Distance of points in the charts. Default: 1s, more in long runs." default:"0s" group:"Result" json:"-"`
	Allow    []string      `help:"Findings that do not make the exit status 1: ${findings}." group:"Result" json:"allow,omitempty"`
	FailIf   []string      `help:"Threshold that makes the exit status 4, such as 'p99>50ms' or 'delivered<900k'; held against the median. Repeatable. p50, p90, p99, p99.9 and max are those of the latency. Figures: ${figures}." placeholder:"FIGURE>VALUE" group:"Result" json:"fail_if,omitempty"`
	JSON     string        `help:"Write the report as JSON ('-': to standard output)." placeholder:"FILE" group:"Result" json:"-"`
	HTML     string        `help:"Write the report as one HTML page." placeholder:"FILE" group:"Result" json:"-"`
}

// Publishing is how events get into the server.
type Publishing struct {
	Publish     string `help:"Way of publishing: redis (PUBLISH), http (POST /api/publish), pusher (POST /apps/ID/batch_events) or ws (the clients themselves). Into other servers: centrifugo (PUBLISH as its nodes do it among themselves), nchan (a POST to --control for each event)." enum:"redis,http,pusher,ws,centrifugo,nchan" default:"redis" group:"Publishing" json:"publish"`
	Redis       string `help:"Redis of the server." default:"redis://127.0.0.1:6379" env:"REDIS_URL" group:"Publishing" json:"-"`
	RedisPrefix string `help:"The hub's --redis-prefix." default:"hub" group:"Publishing" json:"-"`
	Control     string `help:"Control port of the server; for nchan the whole URL that events are posted to." default:"http://127.0.0.1:3001" group:"Publishing" json:"-"`
	APIKey      string `help:"API key of the server, sent as X-API-Key." name:"api-key" env:"HUBBENCH_API_KEY" group:"Publishing" json:"-"`
	Size        int    `help:"Bytes per event; the smallest one has about 110." default:"128" group:"Publishing" json:"size"`
}

// Load is a steady rate for a while.
type Load struct {
	Publishing `embed:""`
	Rate       float64       `help:"Events published a second, all topics together." group:"Load" default:"${rate}" json:"rate"`
	Duration   time.Duration `help:"Time of measuring." group:"Load" default:"${duration}" json:"duration_ns"`
	Warmup     time.Duration `help:"Time of publishing before that; events are verified but not timed." group:"Load" default:"1s" json:"warmup_ns"`
}

// usageError is a combination of settings that makes no sense: exit status 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

var topicName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._-]{0,99}$`)

// validate refuses settings that make no sense, and fills in the URL.
func (c *Common) validate() error {
	app, err := c.app()
	if err != nil {
		return err
	}
	if c.URL == "" {
		c.URL = "ws://127.0.0.1:3000" + guarded(fleet.Protocols[c.Protocol].Path()) + guarded(app.Key)
	}
	switch {
	case c.Loops < 1 || c.Loops > 64:
		return usagef("--loops=%d: want 1 to 64", c.Loops)
	case c.Shards < 1 || c.Shards > 256:
		return usagef("--shards=%d: want 1 to 256", c.Shards)
	case c.Connecting < 1:
		return usagef("--connecting=%d: want at least 1", c.Connecting)
	case c.ConnectRate < 0:
		return usagef("--connect-rate=%g: want 0 or more", c.ConnectRate)
	case c.Timeout <= 0:
		return usagef("--timeout=%s: want more than 0", c.Timeout)
	case c.Settle < 0 || c.Interval < 0:
		return usagef("--settle and --interval: want 0 or more")
	case c.MaxMessage < 256:
		return usagef("--max-message=%d: want at least 256", c.MaxMessage)
	case c.Repeat < 1:
		return usagef("--repeat=%d: want at least 1", c.Repeat)
	case !topicName.MatchString(c.Broadcast):
		return usagef("--broadcast=%q: want letters, digits and :._-", c.Broadcast)
	case c.Server != "" && len(c.ServerPID) > 0:
		return usagef("--server and --server-pid: the processes of a server started here are known")
	case c.Token != "" && c.JWTSecret != "":
		return usagef("--token and --jwt-secret: want one of them")
	}
	for _, a := range c.Allow {
		if !slices.Contains(findings, a) {
			return usagef("--allow=%s: want some of %v", a, findings)
		}
	}
	if _, err := parseThresholds(c.FailIf); err != nil {
		return err
	}
	for _, pid := range c.ServerPID {
		if pid <= 1 {
			return usagef("--server-pid=%d: not a process of a server", pid)
		}
	}
	return c.validateTarget()
}

func (c *Common) validateTarget() error {
	cfg, err := c.fleet(fleet.Topology{}, "check", 1)
	if err != nil {
		return err
	}
	addr, err := cfg.Resolve()
	if err != nil {
		return usageError{err}
	}
	if !addr.Addr().IsLoopback() && !c.AllowRemote {
		return usagef("%s is not on loopback: load only servers of your own, and say --allow-remote", addr.Addr())
	}
	return nil
}

// fleet translates the settings for clients that connect as topology says.
func (c *Common) fleet(topology fleet.Topology, run string, clients int) (fleet.Config, error) {
	cfg := fleet.Config{
		URL: string(c.URL), Insecure: c.Insecure, CA: c.CA, Protocol: c.Protocol, Topology: topology, Header: c.Header, Run: run,
		Clients: clients, Loops: c.Loops, Timeout: c.Timeout, MaxMessage: c.MaxMessage,
		Token: c.Token, TokenSecret: c.JWTSecret, Compression: c.Compression == "on",
	}
	var err error
	if cfg.App, err = c.app(); err != nil {
		return cfg, err
	}
	cfg.Topology.SignedIn = c.speaksPusher()
	if cfg.Topology.SignedIn && topology.Users && cfg.App.Secret == "" {
		return cfg, usagef("--protocol=%s: users sign in, which needs --pusher-app", c.Protocol)
	}
	if topology.Users && c.Token != "" {
		return cfg, usagef("--token: it is of one user and these clients are many; use --jwt-secret")
	}
	for _, s := range c.Source {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return cfg, usagef("--source=%q: not an IP address", s)
		}
		cfg.Sources = append(cfg.Sources, a)
	}
	return cfg, nil
}

// byRedis and byHTTP say which address Publish needs: Redis or Control.
func (p *Publishing) byRedis() bool { return p.Publish == "redis" || p.Publish == "centrifugo" }
func (p *Publishing) byHTTP() bool {
	return p.Publish == "http" || p.Publish == "nchan" || p.Publish == "pusher"
}

func (p *Publishing) validate(c *Common, users bool) error {
	if p.Size < 0 || p.Size > c.MaxMessage/2 {
		return usagef("--size=%d: want 0 to half of --max-message", p.Size)
	}
	switch {
	case p.Publish == "ws" && c.speaksPusher():
		return usagef("--protocol=%s: its clients do not get what they publish themselves; use --publish=redis, http or pusher", c.Protocol)
	case p.Publish == "pusher" && (!c.speaksPusher() || c.PusherApp == ""):
		return usagef("--publish=pusher: want --protocol=pusher and --pusher-app")
	}
	if p.Publish == "ws" && users {
		return usagef("--publish=ws: clients may not publish to a user's topic; use redis or http")
	}
	if p.byRedis() {
		if _, err := redisOptions(p.Redis); err != nil {
			return err
		}
	}
	if p.byHTTP() {
		u, err := url.Parse(p.Control)
		if err != nil || u.Scheme != "http" && (u.Scheme != "https" || p.Publish == "nchan") || u.Host == "" {
			return usagef("--control=%q: want http://host:port", guarded(p.Control))
		}
	}
	return nil
}

func (l *Load) validate(c *Common, users bool) error {
	switch {
	case l.Rate <= 0:
		return usagef("--rate=%g: want more than 0", l.Rate)
	case l.Duration <= 0:
		return usagef("--duration=%s: want more than 0", l.Duration)
	case l.Warmup < 0:
		return usagef("--warmup=%s: want 0 or more", l.Warmup)
	}
	return l.Publishing.validate(c, users)
}

func validateClients(clients int) error {
	if clients < 1 {
		return usagef("--clients=%d: want at least 1", clients)
	}
	return nil
}

var errInterrupted = errors.New("interrupted")
