package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"wshub/bench/wire"
)

// Config says what a fleet connects to and who its clients are. It goes to shards as JSON.
type Config struct {
	URL string `json:"url"` // ws://host:port/path or wss://
	// Insecure takes any certificate of a wss URL, CA those of the authorities in this file.
	Insecure bool     `json:"insecure,omitempty"`
	CA       string   `json:"ca,omitempty"`
	Protocol string   `json:"protocol"`
	Topology Topology `json:"topology"`
	Header   []string `json:"header,omitempty"` // "Name: value" lines for the handshake
	// Token is the JWT of all clients; with TokenSecret each has one of its own, of a user of its own. Empty: none.
	Token       string `json:"token,omitempty"`
	TokenSecret string `json:"token_secret,omitempty"`
	// App is the application of Pusher's clients; its secret signs users in.
	App     App          `json:"app,omitzero"`
	Sources []netip.Addr `json:"sources,omitempty"`
	// Run marks the events of this run: letters and digits.
	Run string `json:"run"`
	// Clients is how many there are in all shards together.
	Clients int `json:"clients"`
	// Loops is the number of event loops of one process.
	Loops int `json:"loops"`
	// Timeout bounds a dial with its handshake and subscriptions.
	Timeout time.Duration `json:"timeout"`
	// MaxMessage bounds what a server may send in one message, in bytes.
	MaxMessage int `json:"max_message"`
	// Compression has the clients offer permessage-deflate.
	Compression bool `json:"compression,omitempty"`
	// Shard of Shards: this process holds the clients whose number mod Shards is Shard.
	Shard  int `json:"shard,omitempty"`
	Shards int `json:"shards,omitempty"`
}

// target is a Config made ready for dialing.
type target struct {
	addr     netip.AddrPort
	tls      *tls.Config  // nil: ws
	sources  []netip.Addr // empty: the kernel's choice
	request  wire.Request
	path     string
	token    string
	secret   string // to make tokens with
	app      App
	protocol Protocol
}

// Resolve checks the configuration and looks up the address of its URL.
func (c Config) Resolve() (netip.AddrPort, error) {
	t, err := c.target()
	return t.addr, err
}

func (c Config) target() (target, error) {
	var t target
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return t, fmt.Errorf("url: %w", err)
	case u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "":
		return t, fmt.Errorf("url %q: want ws://host:port/path or wss://host:port/path", c.URL)
	case u.Scheme == "ws" && (c.Insecure || c.CA != ""):
		return t, errors.New("--insecure and --ca are for a wss:// URL")
	}
	p, ok := Protocols[c.Protocol]
	if !ok {
		return t, fmt.Errorf("protocol %q: want one of %s", c.Protocol, strings.Join(ProtocolNames(), ", "))
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	if u.Scheme == "wss" {
		if t.tls, err = c.tls(u.Hostname()); err != nil {
			return t, err
		}
	}
	resolved, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return t, fmt.Errorf("url %q: %w", c.URL, err)
	}
	t.addr = netip.AddrPortFrom(resolved.AddrPort().Addr().Unmap(), resolved.AddrPort().Port())
	t.protocol = p
	t.path = u.RequestURI()
	t.token, t.secret, t.app = c.Token, c.TokenSecret, c.App
	t.request = wire.Request{Host: u.Host, Subprotocol: p.Subprotocol(), Header: c.Header, Deflate: c.Compression}
	_, t.request.Stream = p.(streamer)
	t.sources = c.Sources
	if len(t.sources) == 0 && t.addr.Addr().Is4() && t.addr.Addr().IsLoopback() {
		t.sources = loopbackSources(c.Clients)
	}
	for _, a := range t.sources {
		if a.Is4() != t.addr.Addr().Is4() {
			return t, fmt.Errorf("source %s cannot reach %s: another address family", a, t.addr.Addr())
		}
	}
	return t, nil
}

// tls is what clients ask of a server's TLS.
func (c Config) tls(host string) (*tls.Config, error) {
	t := &tls.Config{ServerName: host, InsecureSkipVerify: c.Insecure, NextProtos: []string{"http/1.1"}}
	if c.CA == "" {
		return t, nil
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca %s: it holds no certificate in PEM", c.CA)
	}
	return t, nil
}

// portsPerSource is well below the 28,232 ports that Linux gives to one source address by default, since
// ports of closed connections rest for a minute.
const portsPerSource = 8000

// loopbackSources spreads clients over 127.0.0.0/8, from 127.1.0.1 on.
func loopbackSources(clients int) []netip.Addr {
	addrs := make([]netip.Addr, clients/portsPerSource+8)
	for i := range addrs {
		addrs[i] = netip.AddrFrom4([4]byte{127, byte(1 + i/(250*250)), byte(i / 250 % 250), byte(1 + i%250)})
	}
	return addrs
}

// pathOf returns the request path of one client.
func (t *target) pathOf(topology Topology, client int) string {
	var topic, user string
	if topology.Topic != "" && !topology.Default {
		topic = topology.Name(topology.Of(client))
	}
	token := t.tokenOf(client)
	if topology.Users && token == "" {
		user = userName(client)
	}
	query := t.protocol.Query(topic, user, token).Encode()
	switch {
	case query == "":
		return t.path
	case strings.Contains(t.path, "?"):
		return t.path + "&" + query
	}
	return t.path + "?" + query
}

// first returns what a client has to send after the handshake to follow its measured topic, and how many
// subscriptions are then confirmed: a user's own topic is followed unasked.
func (t *target) first(topology Topology, client int, since string) (message []byte, confirmed uint8) {
	e := t.entry(topology, client, since)
	if confirmed = 1; e.Topic != "" && e.Own != "" {
		confirmed = 2
	}
	switch t.protocol.(type) {
	case streamer: // the server confirms unasked what the URL names
		return nil, confirmed
	case greeter:
		return nil, confirmed
	}
	if message = t.protocol.Open(nil, e); len(message) == 0 {
		return nil, 0
	}
	return message, confirmed
}

// entry is what a client says when it has a connection.
func (t *target) entry(topology Topology, client int, since string) Entry {
	e := Entry{Token: t.tokenOf(client), Since: since, App: t.app}
	if topology.Topic != "" {
		e.Topic = topology.Name(topology.Of(client))
	}
	if topology.Topic == "" || topology.Users {
		e.Own, e.User = topology.own(client), userName(client)
	}
	return e
}

// tokenOf returns the token of one client, empty where it has none.
func (t *target) tokenOf(client int) string {
	if t.secret == "" {
		return t.token
	}
	own := ""
	if _, ok := t.protocol.(names); ok {
		own = Topology{}.own(client)
	}
	return mint(t.secret, userName(client), own, time.Now())
}
