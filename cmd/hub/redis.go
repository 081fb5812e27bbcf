package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"wshub/pubsub"
)

// validateRedis never repeats a part of the URL but an option's name.
func (c *config) validateRedis() error {
	if !pubsub.ValidPrefix(c.RedisPrefix) {
		return errors.New("--redis-prefix: want 1 to 64 letters, digits, \"-\", \"_\", \".\" and, within, \":\", as in shop or shop:eu")
	}
	if c.RedisURL == "" {
		return nil
	}
	a, err := pubsub.ParseAddress(c.RedisURL)
	switch unknown := new(pubsub.UnknownOption); {
	case errors.As(err, &unknown):
		return fmt.Errorf("--redis-url: %w%s", err, instead[unknown.Name])
	case err != nil:
		return fmt.Errorf("--redis-url: %w", err)
	case a.DB != 0 && c.RedisPrefix == pubsub.DefaultPrefix:
		return fmt.Errorf("--redis-url: channels know no database, so hubs that differ in its number only would hear each other: "+
			"beside a database other than 0 a name of their own is needed, as in --redis-prefix=hub%d", a.DB)
	}
	return nil
}

// instead says where stands what options of other programs' URLs set.
var instead = map[string]string{
	"db":          ": the database stands behind the host, as in redis://host:6379/1",
	"pool_size":   ": --redis-pool-size sets that",
	"skip_verify": ": --redis-ca names the authority of a server's certificate",
}

// maskRedis is raw, a URL of Redis, without its passwords; a wrong one is masked whole.
func maskRedis(raw string) string {
	if raw == "" {
		return ""
	}
	a, err := pubsub.ParseAddress(raw)
	if err != nil {
		return masked
	}
	return a.String()
}

// redisSecrets are the passwords in raw, a URL of Redis.
func redisSecrets(raw string) []string {
	a, err := pubsub.ParseAddress(raw)
	if err != nil {
		return nil
	}
	return []string{a.Password, a.SentinelPassword}
}

// validateRedisFiles also reads them.
func (c *config) validateRedisFiles() error {
	_, err := c.redisTLS()
	return err
}

// redisTLS is how the hub talks TLS to Redis, without a ServerName; nil if it does not. Its errors name neither a
// file, which may be a key in the wrong place, nor what is in it.
func (c *config) redisTLS() (*tls.Config, error) {
	a, err := pubsub.ParseAddress(c.RedisURL)
	if err != nil && c.RedisURL != "" {
		return nil, nil // validateRedis names the fault
	}
	if !a.TLS {
		for _, file := range []struct{ flag, name string }{{"redis-ca", c.RedisCA}, {"redis-cert", c.RedisCert}, {"redis-key", c.RedisKey}} {
			if file.name != "" {
				return nil, fmt.Errorf("--%s: it is for TLS, which takes a --redis-url of rediss://, rediss+sentinel:// or rediss+cluster://", file.flag)
			}
		}
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.RedisCA != "" {
		if cfg.RootCAs, err = readAuthorities(c.RedisCA); err != nil {
			return nil, fmt.Errorf("--redis-ca: %w", err)
		}
	}
	switch {
	case c.RedisCert != "" && c.RedisKey == "":
		return nil, errors.New("--redis-cert: its private key is missing: --redis-key names the file")
	case c.RedisCert == "" && c.RedisKey != "":
		return nil, errors.New("--redis-key: its certificate is missing: --redis-cert names the file")
	case c.RedisCert != "":
		pair, err := readPair(c.RedisCert, c.RedisKey)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func readAuthorities(name string) (*x509.CertPool, error) {
	text, err := readPEM(name)
	if err != nil {
		return nil, err
	}
	pool, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		n++
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d can't be read: %w", n, err)
		}
		pool.AddCert(cert)
	}
	if n == 0 {
		return nil, errors.New("the file holds no certificate in PEM")
	}
	return pool, nil
}

func readPair(cert, key string) (tls.Certificate, error) {
	certText, err := readPEM(cert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("--redis-cert: %w", err)
	}
	keyText, err := readPEM(key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("--redis-key: %w", err)
	}
	if _, err := readAuthorities(cert); err != nil {
		return tls.Certificate{}, fmt.Errorf("--redis-cert: %w", err)
	}
	pair, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("--redis-key: want the private key of --redis-cert in PEM, not encrypted: %w", err)
	}
	return pair, nil
}

// readPEM reads a file, whose name is no part of an error.
func readPEM(name string) ([]byte, error) {
	if isPEM(name) {
		return nil, errors.New("want the name of a PEM file, not its text")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, reason(err)
	}
	return text, nil
}
