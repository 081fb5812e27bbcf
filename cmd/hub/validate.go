package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"wshub/engine"
	"wshub/engine/proxy"
	"wshub/pubsub"
	"wshub/session/centrifugo"
)

// leastKey is the shortest API key that is accepted: 16 random letters and digits can't be guessed.
const leastKey = 16

// maxTraced bounds the users that are traced: the list is walked at each handshake.
const maxTraced = 16

// validate checks every setting. Its errors name the flag, and the variable if the value came from one.
func (s *settings) validate() error {
	c := s.cfg
	return s.name(append(s.faults(), c.validateRedisFiles(), c.validateControlTLS(), c.validatePublicTLS()))
}

// validateAgain checks the settings of a hub that runs, without the files of its certificates: it has those from before, and a bad
// file keeps no key from its change.
func (s *settings) validateAgain() error { return s.name(s.faults()) }

// faults are the errors of all settings but files of certificates, nil among them.
func (s *settings) faults() []error {
	var errs []error
	for _, f := range s.flags {
		errs = append(errs, validateRange(f))
	}
	c := s.cfg
	return append(errs, c.validateAddr(), c.validateControl(), c.validateConnections(), c.validateProxies(), c.validateRedis(), c.validateKeys(), c.validateNames(), c.validatePusher(), c.validateHistory(), c.validatePresence(), c.validateCompression(), c.validateWebhooks(), c.validatePusherHooks(),
		cmp.Or(c.validateSecrets(), c.validateKeySet(), c.validateKeyFiles(), c.validateTokens()))
}

// name joins errs, each with the variable that it is about, also those that were joined before. Of those that say the same, as what
// needs another setting does that is bad, it keeps one.
func (s *settings) name(errs []error) error {
	var all []error
	told := map[string]bool{}
	var add func(errs []error)
	add = func(errs []error) {
		for _, err := range errs {
			if several, ok := err.(interface{ Unwrap() []error }); ok {
				add(several.Unwrap())
			} else if err != nil {
				if err = s.named(err); !told[err.Error()] {
					told[err.Error()] = true
					all = append(all, err)
				}
			}
		}
	}
	add(errs)
	return errors.Join(all...)
}

// doubts names the variables that look like settings and are none, and the settings that two variables set to different
// values. The hub itself starts all the same: a variable that it does not know may be meant for another version of it.
func (s *settings) doubts() error {
	var errs []error
	for _, text := range slices.Concat(s.env.unknown(s.flags), s.env.contradictions(s.flags)) {
		errs = append(errs, errors.New(text))
	}
	return errors.Join(errs...)
}

// validateSecrets refuses secrets that could not be found again in a log: bytes that are no UTF-8 melt into the text
// beside them. It also refuses key text where it would be printed, or split into lines.
func (c *config) validateSecrets() error {
	for _, of := range []struct {
		flag    string
		secrets []string
	}{
		{"redis-url", redisSecrets(c.RedisURL)}, {"jwks-url", querySecrets(c.JWKSURL)}, {"api-key", c.APIKey}, {"console-key", c.ConsoleKey}, {"jwt-secret", c.JWTSecret}, {"resume-key", c.ResumeKey}, {"pusher-app", c.PusherApp},
		{"webhook", c.webhookURLSecrets()}, {"webhook-secret", c.WebhookSecret}, {"pusher-webhook", c.pusherHookSecrets()},
	} {
		switch {
		case slices.ContainsFunc(of.secrets, func(s string) bool { return !utf8.ValidString(s) }):
			return fmt.Errorf("--%s: the secret is not UTF-8, so it could not be kept out of logs", of.flag)
		case slices.ContainsFunc(of.secrets, isPEM):
			return fmt.Errorf("--%s: a PEM key is no secret; --jwt-key takes the name of its file", of.flag)
		}
	}
	return nil
}

func isPEM(s string) bool { return strings.Contains(s, "-----BEGIN") }

// validateKeyFiles never repeats a name that is no file's: it may be a key.
func (c *config) validateKeyFiles() error {
	for i, name := range c.JWTKey {
		if err := validateKeyFile(i, name); err != nil {
			return err
		}
	}
	return nil
}

func validateKeyFile(i int, name string) error {
	if isPEM(name) {
		return errors.New("--jwt-key: want the name of a PEM file, not its text")
	}
	if _, err := os.Stat(name); err != nil {
		return fmt.Errorf("--jwt-key: file %d: %w", i+1, reason(err))
	}
	return nil
}

// reason is err without the name of the file that it is about.
func reason(err error) error {
	if in := new(fs.PathError); errors.As(err, &in) {
		return in.Err
	}
	return err
}

// validateRange compares a flag with its range and zero tags.
func validateRange(f *kong.Flag) error {
	low, high, ok := strings.Cut(f.Tag.Get("range"), "..")
	if !ok {
		return nil
	}
	n := f.Target.Int()
	if n == 0 && f.Tag.Get("zero") != "" {
		return nil
	}
	least, err1 := parseLike(f.Target, low)
	most, err2 := parseLike(f.Target, high)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("--%s: its range: %w", f.Name, err)
	}
	if n < least || n > most {
		return fmt.Errorf("--%s is %v: must be %s", f.Name, f.Target, accepts(f))
	}
	return nil
}

// parseLike reads text as a value of v's type.
func parseLike(v reflect.Value, text string) (int64, error) {
	switch v.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		return int64(d), err
	case byteSize:
		var b byteSize
		err := b.UnmarshalText([]byte(text))
		return int64(b), err
	}
	return strconv.ParseInt(text, 10, 64)
}

// validateAddr also refuses to let the whole world into a hub without keys unless that is said to be meant.
func (c *config) validateAddr() error {
	if err := validateHostPort("addr", c.Addr); err != nil {
		return err
	}
	if !isLoopback(c.Addr) && !c.Open && c.isOpen() {
		return fmt.Errorf("--addr %s can be reached by others, and without keys for tokens (--jwt-secret, --jwt-key, --jwks-url) this hub lets everybody in: add --open if that is meant, or listen on 127.0.0.1", c.Addr)
	}
	return nil
}

func (c *config) validateControl() error {
	if c.controlOff() {
		return nil
	}
	if err := validateHostPort("control", c.Control); err != nil {
		return fmt.Errorf("%w, or off", err)
	}
	if _, port, _ := net.SplitHostPort(c.Control); c.Control == c.Addr && port != "0" {
		return fmt.Errorf("--control %s: the public port is there already", c.Control)
	}
	return nil
}

func validateHostPort(flag, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || strings.ContainsAny(host, " /@") {
		return fmt.Errorf("--%s %q: want host:port, as in 127.0.0.1:3000 or [::1]:3000", flag, addr)
	}
	return nil
}

func (c *config) validateConnections() error {
	if limit := engine.ConnectionLimit(); c.MaxConnections > limit {
		return fmt.Errorf("--max-connections %d: the open-file limit allows %d (raise it: ulimit -n, LimitNOFILE)", c.MaxConnections, limit)
	}
	return nil
}

func (c *config) validateProxies() error {
	if _, err := proxy.ParseNetworks(c.TrustedProxies); err != nil {
		return fmt.Errorf("--trusted-proxies: %w", err)
	}
	if c.ClientAddress != proxy.Socket.String() && len(c.TrustedProxies) == 0 {
		return fmt.Errorf("--client-address %s: --trusted-proxies must name the proxies that are believed, for anybody can send such an address", c.ClientAddress)
	}
	return nil
}

func (c *config) validateKeySet() error {
	if isTorn(c.JWKSURL) {
		return fmt.Errorf("--jwks-url: %w", errTorn)
	}
	return nil
}

func (c *config) validateKeys() error {
	for i, key := range c.APIKey {
		if len(key) < leastKey {
			return fmt.Errorf("--api-key: key %d has %d characters: must be at least %d", i+1, len(key), leastKey)
		}
	}
	for i, key := range c.ConsoleKey {
		if len(key) < leastKey {
			return fmt.Errorf("--console-key: key %d has %d characters: must be at least %d", i+1, len(key), leastKey)
		}
		if slices.Contains(c.APIKey, key) {
			return fmt.Errorf("--console-key: key %d is an --api-key, too, so it may do everything: want another one", i+1)
		}
	}
	return nil
}

func (c *config) validateNames() error {
	var errs []error
	for _, path := range []struct{ flag, value string }{{"path", c.Path}, {"centrifugo-path", c.CentrifugoPath}} {
		off := path.flag == "centrifugo-path" && path.value == pathOff
		if !off && (!strings.HasPrefix(path.value, "/") || strings.ContainsAny(path.value, "?# ")) {
			errs = append(errs, fmt.Errorf("--%s %q: must begin with / and hold no query", path.flag, path.value))
		}
		if c.CentrifugoPath != pathOff && slices.Contains(centrifugo.HTTPPaths(), path.value) {
			errs = append(errs, fmt.Errorf("--%s %q: is a path of Centrifugo's streams", path.flag, path.value))
		}
	}
	if c.Path == c.CentrifugoPath {
		errs = append(errs, fmt.Errorf("--path and --centrifugo-path are both %q: want two paths", c.Path))
	}
	if _, err := engine.ParseOrigins(c.Origins); err != nil {
		errs = append(errs, fmt.Errorf("--origins: %w", err))
	}
	if b := c.Broadcast; !pubsub.ValidBroadcast(c.RedisPrefix, b) || strings.HasPrefix(b, "$") || strings.HasPrefix(b, "user:") || strings.HasPrefix(b, "hub:") {
		errs = append(errs, fmt.Errorf("--broadcast %q: want a name of 1 to %d bytes without control characters that does not begin with \"$\", \"user:\" or \"hub:\" and is no name of another channel with --redis-prefix: to, n, format, t:…, n:…, {…", b, pubsub.MaxTopic))
	}
	if len(c.TraceUser) > maxTraced || slices.ContainsFunc(c.TraceUser, func(u string) bool { return !pubsub.ValidTopic("user:" + u) }) {
		errs = append(errs, fmt.Errorf("--trace-user: want up to %d users, each of 1 to %d bytes without control characters", maxTraced, pubsub.MaxTopic-len("user:")))
	}
	if !pubsub.ValidTopic(c.Node) {
		errs = append(errs, fmt.Errorf("--node %q: want a name of 1 to %d bytes without control characters", c.Node, pubsub.MaxTopic))
	}
	return errors.Join(errs...)
}
