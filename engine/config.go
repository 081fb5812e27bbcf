package engine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine/proxy"
)

// Config shapes a Server. The zero value of each field stands for its default.
type Config struct {
	// Addr is where to listen, host:port. Default 127.0.0.1:3000. Port 0 takes a free one.
	Addr string
	// Paths are those that are upgraded; one that ends in / stands for all with one segment more. Default /notification.
	Paths []string
	// HTTPPaths are those at which plain HTTP is spoken, besides WebSocket where they are Paths, too: see Kind. Default none.
	HTTPPaths []string
	// Calls are requests to an API on this port. Default: there are none.
	Calls CallConfig
	// Pages are what plain GETs are answered with, by path; all others get a Refusal. At most 16.
	Pages []Page
	// Origins are the browser origins let in besides the Host's own and loopback ones.
	Origins *Origins

	// ClientAddress is where the address of a client stands. Default: the peer of its socket is the client.
	ClientAddress proxy.Source
	// TrustedProxies are the proxies that are believed; all ClientAddresses but proxy.Socket need some. A header field of
	// another peer is passed over. With proxy.Protocol other peers are refused. Danger: whoever is in these networks can
	// claim to have any address.
	TrustedProxies proxy.Networks
	// MaxPerAddress bounds the connections of one client address, of IPv6 those of a /64; more are answered 429.
	// Default 0: no bound.
	MaxPerAddress int
	// AddressRate bounds the handshakes of one client address, of IPv6 those of a /64, in a second, as many at once; more
	// are answered 429. Default 0: no bound.
	AddressRate int

	// Pollers is the number of loops, 1 to MaxPollers. Default GOMAXPROCS.
	Pollers int
	// MaxConnections bounds connections, from the end of a client's HTTP head on; more are answered 503. Sockets whose
	// head is still to come, and those that close, may have the places that are free, and some 190 more; over that
	// the oldest of them are dropped. Default: the open-file limit less a reserve. More than that is an error of New.
	MaxConnections int
	// ReadBuffer is the size of each loop's read buffer in bytes. Default 64 KiB.
	ReadBuffer int
	// SendBuffer is SO_SNDBUF in bytes; Linux doubles it. It bounds what the kernel hides of a slow
	// consumer's backlog. Default 128 KiB.
	SendBuffer int

	// TLS, where not nil, has the port speak TLS and nothing else, with those certificates and versions. The server reads it
	// at each handshake, on goroutines of their own: its funcs may block for a moment. Session tickets change their keys by
	// SetSessionTicketKeys. Default: no TLS.
	TLS *tls.Config
	// MaxTLSHandshakes and MaxTLSHandshakesPerAddr bound the TLS handshakes that are at work, from the whole ClientHello on,
	// in all and of one address (of IPv6: one /64). Over them the one ends whose client has been silent for longest. The
	// loops have an equal share each. Default 4096 and 1024.
	MaxTLSHandshakes, MaxTLSHandshakesPerAddr int

	// MaxHead bounds the HTTP head of a handshake, cookies and tokens included, and what a client sends before
	// the answer, in bytes. Default 16 KiB.
	MaxHead int
	// MaxMessage bounds one message, all its fragments together, in bytes. Default 64 KiB.
	MaxMessage int
	// Deflate has messages compressed for clients that offer permessage-deflate (RFC 7692): it is the largest window that
	// they need to inflate the hub's, in bits, 9 to 15. Default 0: no message is compressed, either way.
	Deflate int
	// MaxQueued is how many bytes may wait for one connection, beyond the kernel's buffer, without its being in a
	// hurry. With more it is cut as a slow consumer if nothing leaves for a second, or if what waits does not
	// become less by MaxQueued in 10 s. A message of any size, or a burst, cuts nobody who reads it. With less,
	// even with one byte, it is cut if nothing leaves for 30 s. Looked at once a second. Default 256 KiB.
	MaxQueued int
	// MaxPartial and MaxBacklog bound, over all connections, half-received messages (with input that waits for its turn) and
	// queued output in bytes; over them the largest holders are cut. Default 256 MiB and 1 GiB.
	MaxPartial, MaxBacklog int64

	// Heartbeat is the time between two pings to one connection; one of 10 s or more may be up to 1 s less, so
	// that pings go out together. Nothing heard in one such time after a ping means that the peer is dead. At
	// least 100 ms. Default 25 s.
	Heartbeat time.Duration
	// HandshakeTimeout bounds the opening handshake. Default 10 s.
	HandshakeTimeout time.Duration
	// MessageTimeout bounds the time between a message's first byte and its last. Default 30 s.
	MessageTimeout time.Duration

	// OnRefused, where not nil, is told of each handshake that the engine itself refuses, on the connection's loop and
	// before the answer.
	OnRefused func(c *Conn, r *Refusal)
	// OnFull, where not nil, is asked on the loop what a WebSocket client hears that there is no place for: frames, a Close frame
	// last, and the subprotocol that is selected. Without frames it gets the refusal.
	OnFull func(r *Request) (subprotocol string, frames []byte)
	// OnUpgraded, where not nil, is told of each handshake that became a connection, on its loop: how long it took from
	// the socket's coming to the answer, to within a turn of the loop.
	OnUpgraded func(took time.Duration)
	// PostError, where not nil, writes the body of a Post's or Call's refusal, in JSON. Else it is the reason as text.
	PostError func(r *Refusal) []byte
	// Log takes what an operator should know; its zero value is silent.
	Log zerolog.Logger
}

// MaxPollers is the largest Config.Pollers.
const MaxPollers = 64

// withDefaults returns cfg with defaults for zero fields, or an error that names the bad field.
func (cfg Config) withDefaults() (Config, error) {
	def(&cfg.Addr, "127.0.0.1:3000")
	if len(cfg.Paths) == 0 {
		cfg.Paths = []string{"/notification"}
	}
	def(&cfg.Pollers, min(runtime.GOMAXPROCS(0), MaxPollers))
	limit := ConnectionLimit()
	def(&cfg.MaxConnections, limit)
	def(&cfg.ReadBuffer, 64<<10)
	def(&cfg.SendBuffer, 128<<10)
	def(&cfg.MaxTLSHandshakes, 4096)
	def(&cfg.MaxTLSHandshakesPerAddr, 1024)
	def(&cfg.MaxHead, 16<<10)
	def(&cfg.MaxMessage, 64<<10)
	def(&cfg.MaxQueued, 256<<10)
	def(&cfg.MaxPartial, 256<<20)
	def(&cfg.MaxBacklog, 1<<30)
	def(&cfg.Heartbeat, 25*time.Second)
	def(&cfg.HandshakeTimeout, 10*time.Second)
	def(&cfg.MessageTimeout, 30*time.Second)

	if cfg.Deflate != 0 {
		if err := within("deflate", cfg.Deflate, narrowWindow, maxWindow); err != nil {
			return cfg, err
		}
	}
	if _, _, err := net.SplitHostPort(cfg.Addr); err != nil {
		return cfg, fmt.Errorf("addr %q: %w", cfg.Addr, err)
	}
	for _, path := range slices.Concat(cfg.Paths, cfg.HTTPPaths) {
		if !strings.HasPrefix(path, "/") {
			return cfg, fmt.Errorf("path %q: must begin with /", path)
		}
	}
	if cfg.ClientAddress != proxy.Socket && len(cfg.TrustedProxies) == 0 {
		return cfg, fmt.Errorf("client address %s: no proxy is trusted to tell it", cfg.ClientAddress)
	}
	if t := cfg.TLS; t != nil && len(t.Certificates) == 0 && t.GetCertificate == nil && t.GetConfigForClient == nil {
		return cfg, errors.New("TLS without a certificate: want Certificates or GetCertificate")
	}
	calls, err := cfg.Calls.withDefaults()
	if err != nil {
		return cfg, err
	}
	cfg.Calls = calls
	if cfg.MaxConnections > limit {
		return cfg, fmt.Errorf("max connections %d: the open-file limit allows %d (raise it: ulimit -n, LimitNOFILE)", cfg.MaxConnections, limit)
	}
	return cfg, errors.Join(
		within("pollers", cfg.Pollers, 1, MaxPollers),
		within("max connections", cfg.MaxConnections, 1, limit),
		within("max per address", cfg.MaxPerAddress, 0, 1<<26),
		within("address rate", cfg.AddressRate, 0, 1_000_000),
		within("read buffer", cfg.ReadBuffer, 4<<10, 16<<20),
		within("send buffer", cfg.SendBuffer, 4<<10, 64<<20),
		within("max TLS handshakes", cfg.MaxTLSHandshakes, 1, 1<<20),
		within("max TLS handshakes of one address", cfg.MaxTLSHandshakesPerAddr, 1, 1<<20),
		within("max head", cfg.MaxHead, 4<<10, 64<<10),
		within("max message", cfg.MaxMessage, 1, 64<<20),
		within("max queued", cfg.MaxQueued, 1<<10, 256<<20),
		within("max partial", cfg.MaxPartial, 1<<10, 1<<40),
		within("max backlog", cfg.MaxBacklog, 1<<10, 1<<40),
		within("heartbeat", cfg.Heartbeat, tick, 24*time.Hour),
		within("handshake timeout", cfg.HandshakeTimeout, tick, time.Hour),
		within("message timeout", cfg.MessageTimeout, tick, time.Hour),
	)
}

func def[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

func within[T int | int64 | time.Duration](name string, v, low, high T) error {
	if v < low || v > high {
		return fmt.Errorf("%s %v: must be %v to %v", name, v, low, high)
	}
	return nil
}
