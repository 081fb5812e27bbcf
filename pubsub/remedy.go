package pubsub

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
)

// Because adds err to a log line and, where it is known, what an operator can do about it, in plain words that name the
// setting. err comes from Redis, or from the way there.
func Because(err error) func(*zerolog.Event) {
	return func(line *zerolog.Event) {
		line.Err(err)
		if text := remedy(err); text != "" {
			line.Str("remedy", text)
		}
	}
}

// remedies are for answers of Redis that hold a text, the first one counts.
var remedies = []struct{ holds, remedy string }{
	{"WRONGPASS ", "the user or the password in --redis-url is wrong, or the user is off: redis-cli ACL GETUSER shows it"},
	{"without any password configured", "--redis-url has a password and this redis has none: take it out of the URL, or set it there (requirepass)"},
	{"NOAUTH ", "this redis wants a password: --redis-url has none, as in redis://user:password@host:6379"},
	{"DENIED ", "this redis is in protected mode and takes connections of its own machine only: it needs a user with a password"},
	{"max number of clients", "this redis has too many clients: raise its maxclients"},
	{"DB index is out of range", "this redis has no such database: --redis-url ends with its number"},
	{"OOM ", "this redis is full: raise its maxmemory, or keep less (--history)"},
	{"MISCONF ", "this redis can't save to its disk: its own log says why"},
	{"NOREPLICAS ", "too few replicas follow this redis: see its min-replicas-to-write"},
}

// remedy is what can be done about err, "" if that is not known.
func remedy(err error) string {
	text := err.Error()
	var name *net.DNSError
	var timeout net.Error
	switch {
	case isPermission(err):
		return "the user of --redis-url lacks rights: hub check --connect names all of them, redis-cli ACL SETUSER grants them"
	case errors.As(err, &name):
		return "the host in --redis-url can't be looked up: see its name, and this machine's DNS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: see that redis runs, and the host and port in --redis-url"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "--redis-ca names the authority of redis's certificate"
	case errors.As(err, new(x509.HostnameError)):
		return "redis's certificate is for another host than the one in --redis-url"
	case errors.As(err, new(tls.RecordHeaderError)), strings.HasPrefix(text, "TLS handshake: "):
		return "see whether redis speaks TLS at this port: without, --redis-url begins with redis://, not rediss://"
	case errors.Is(err, errProtocol):
		return "what answers is no redis: see the host and port in --redis-url"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, errLate):
		return "redis does not answer: it is frozen or overloaded, or something on the way drops packets"
	}
	for _, r := range remedies {
		if strings.Contains(text, r.holds) {
			return r.remedy
		}
	}
	return ""
}

// remedied is err's text and its remedy.
func remedied(err error) string {
	if text := remedy(err); text != "" {
		return err.Error() + ": " + text
	}
	return err.Error()
}
