package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wshub/pubsub/redistest"
)

func TestAFaultOfTheRedisURLSaysWhatToDo(t *testing.T) {
	for url, want := range map[string]string{
		"redis://host/2":              "--redis-prefix=hub2",
		"redis+sentinel://host/m/3":   "--redis-prefix=hub3",
		"unix:///run/r.sock?db=4":     "--redis-prefix=hub4",
		"redis://host?pool_size=20":   "--redis-pool-size",
		"rediss://host?skip_verify=1": "--redis-ca",
		"redis://host?db=1":           "behind the host",
		"redis://host?dial_timeout=1": `"dial_timeout"`,
		"redis://secret@host":         ":password@",
		"redis+sentinel://host":       "master's name",
	} {
		code, _, stderr := call(t, map[string]string{"REDIS_URL": url}, "check")
		if code != 2 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "(from REDIS_URL)") {
			t.Errorf("%s ends with %d: %s; want %q", url, code, stderr, want)
		}
	}
}

func TestADatabaseNeedsAPrefixOfItsOwn(t *testing.T) {
	for _, args := range [][]string{{"--redis-url=redis://host/2", "--redis-prefix=shop"}, {"--redis-url=redis://host/0"}} {
		if code, _, stderr := call(t, nil, append(args, "check")...); code != 0 {
			t.Errorf("%q ends with %d: %s", args, code, stderr)
		}
	}
}

func TestWaitingForReplicasWithoutRedisIsTold(t *testing.T) {
	if _, stdout, _ := call(t, nil, "check", "--redis-wait=1", "--redis-gather=1ms"); !strings.Contains(stdout, "--redis-wait has no effect") || !strings.Contains(stdout, "--redis-gather has no effect") {
		t.Error(stdout)
	}
}

func TestTheFilesForRedisAreReadAtTheStart(t *testing.T) {
	files, others := redistest.NewCertificates(t), redistest.NewCertificates(t)
	written := func(text string) string {
		name := filepath.Join(t.TempDir(), "secret-name.pem")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	key := read(t, files.ClientKey)
	torn := written(strings.Replace(key, "\n", "\nQUJD", 1))
	broken := written(read(t, files.CA) + "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n")
	ca, cert, private := "--redis-ca="+files.CA, "--redis-cert="+files.ClientCert, "--redis-key="+files.ClientKey
	for _, c := range []struct {
		url  string
		args []string
		want string // "" for no error
	}{
		{"rediss://host", []string{ca}, ""},
		{"rediss+cluster://host", []string{cert, private}, ""},
		{"rediss+sentinel://host/m", []string{ca, cert, private}, ""},
		{"redis://host", []string{ca}, "--redis-ca: it is for TLS"},
		{"redis+cluster://host", []string{cert, private}, "--redis-cert: it is for TLS"},
		{"", []string{private}, "--redis-key: it is for TLS"},
		{"rediss://host", []string{cert}, "--redis-cert: its private key is missing"},
		{"rediss://host", []string{private}, "--redis-key: its certificate is missing"},
		{"rediss://host", []string{"--redis-ca=/no/secret-name"}, "--redis-ca: no such file"},
		{"rediss://host", []string{"--redis-ca=" + files.ClientKey}, "--redis-ca: the file holds no certificate"},
		{"rediss://host", []string{"--redis-ca=" + broken}, "--redis-ca: certificate 2 can't be read"},
		{"rediss://host", []string{"--redis-ca=" + written(key)}, "--redis-ca: the file holds no certificate"},
		{"rediss://host", []string{"--redis-cert=" + files.ClientKey, private}, "--redis-cert: the file holds no certificate"},
		{"rediss://host", []string{cert, "--redis-key=" + torn}, "--redis-key: want the private key"},
		{"rediss://host", []string{cert, "--redis-key=" + files.ClientCert}, "--redis-key: want the private key"},
		{"rediss://host", []string{cert, "--redis-key=" + others.ClientKey}, "does not match"},
		{"rediss://host", []string{cert, "--redis-key=" + t.TempDir()}, "--redis-key: is a directory"},
		{"rediss://host", []string{cert, "--redis-key=" + key}, "--redis-key: want the name"},
	} {
		code, stdout, stderr := call(t, map[string]string{"REDIS_URL": c.url}, append(c.args, "check")...)
		if (code == 0) != (c.want == "") || !strings.Contains(stderr, c.want) {
			t.Errorf("%s %q ends with %d: %s; want %q", c.url, c.args, code, stderr, c.want)
		}
		inside := strings.Split(key, "\n")[1]
		if strings.Contains(stdout+stderr, inside) || strings.Contains(stdout+stderr, "secret-name") || strings.Contains(stdout+stderr, "BEGIN") {
			t.Errorf("%q: a part of a key or its name is shown: %s", c.args, stderr)
		}
	}
}

func TestTheHubSpeaksTLSToRedis(t *testing.T) {
	server := redistest.StartTLS(t)
	ca, cert, key := "--redis-ca="+server.CA, "--redis-cert="+server.ClientCert, "--redis-key="+server.ClientKey
	url := "--redis-url=" + server.TLSURL()
	if code, _, stderr := call(t, nil, "check", "--connect", url, ca, cert, key); code != 0 {
		t.Errorf("ends with %d: %s", code, stderr)
	}
	if code, stdout, stderr := call(t, nil, "check", "--connect", url, ca); code != 1 || !strings.Contains(stdout+stderr, "certificate required") {
		t.Errorf("without a certificate ends with %d: %s%s", code, stdout, stderr)
	}
}

func TestTLSForRedisNamesNoServer(t *testing.T) {
	cfg, err := parsed(t, nil, "--redis-url=rediss://host").cfg.redisTLS()
	if err != nil || cfg == nil || cfg.ServerName != "" || cfg.MinVersion != tls.VersionTLS12 {
		t.Errorf("%+v, %v", cfg, err)
	}
	if cfg, err := parsed(t, nil, "--redis-url=redis://host").cfg.redisTLS(); cfg != nil || err != nil {
		t.Errorf("without TLS: %+v, %v", cfg, err)
	}
}

func TestTheSentinelsPasswordIsASecret(t *testing.T) {
	c := parsed(t, map[string]string{"REDIS_URL": "redis+sentinel://:hunter%402222@s/m?sentinel_user=u&sentinel_password=hunter%2F3333"}).cfg
	var out strings.Builder
	log, _ := newLogger(c, &out)
	log.Warn().Str("url", c.RedisURL).Msg("AUTH hunter@2222, AUTH u hunter/3333")
	if strings.Contains(out.String(), "hunter") {
		t.Error(out.String())
	}
}
