package pubsub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wshub/pubsub/redistest"
)

func TestTheLogNamesARemedyForWhatRedisSays(t *testing.T) {
	_, noHost := net.DefaultResolver.LookupHost(canceled(t), "redis.invalid")
	for err, want := range map[error]string{
		serverError("WRONGPASS invalid username-password pair or user is disabled."):          "the user or the password in --redis-url is wrong",
		serverError("ERR AUTH <password> called without any password configured for the ..."): "this redis has none",
		serverError("NOAUTH Authentication required."):                                        "wants a password",
		serverError("NOPERM this user has no permissions to run the 'set' command"):           "hub check --connect names all",
		serverError("OOM command not allowed when used memory > 'maxmemory'."):                "maxmemory",
		serverError("LOADING Redis is loading the dataset in memory"):                         "",
		fmt.Errorf("ask redis for its role: %w", errProtocol):                                 "is no redis",
		io.EOF: "",
		noHost: "can't be looked up",
		&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}:                            "nothing listens there",
		fmt.Errorf("TLS handshake: %w", context.DeadlineExceeded):                      "speaks TLS",
		fmt.Errorf("TLS handshake: %w", x509.UnknownAuthorityError{}):                  "--redis-ca",
		fmt.Errorf("TLS handshake: %w", tls.RecordHeaderError{}):                       "speaks TLS",
		fmt.Errorf("read revocations: %w", context.DeadlineExceeded):                   "frozen",
		errors.Join(errLate, &net.OpError{Op: "read", Err: io.EOF}):                    "frozen",
		fmt.Errorf("x: %w", &unsent{serverError("WRONGPASS no such")}):                 "the user or the password",
		fmt.Errorf("x: %w", &unsent{serverError("ERR max number of clients reached")}): "maxclients",
	} {
		var log strings.Builder
		logger := zerolog.New(&log)
		logger.Warn().Func(Because(err)).Send()
		if got := remedy(err); (got == "") != (want == "") || !strings.Contains(got, want) || !strings.Contains(log.String(), got) {
			t.Errorf("%v: %q, want %q; log: %s", err, got, want, &log)
		}
	}
}

func TestARightThatIsMissingIsNotTakenForAServerThatIsFrozen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.CLI("acl", "setuser", "bob", "on", ">1", "allkeys", "allchannels", "+@all")
	var log lines
	r := newRedis(t, RedisConfig{URL: strings.Replace(server.URL(), "//", "//bob:1@", 1), ProbeDeadline: 2 * time.Second})
	r.trouble = log.logger() // not sampled: each probe that is refused is logged, too
	start(t, r)
	ready(t, r)
	server.CLI("acl", "setuser", "bob", "-publish")
	// A machine that has much to do may have one probe look late, and a connection be given up as frozen, but not each.
	eventually(t, "it is cut off for the right", func() bool { return log.containsLine("the user lacks +publish", `"message":"not connected to redis"`) })
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
