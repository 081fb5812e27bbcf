package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"wshub/pubsub/redistest/drills"
)

// envFileOf writes a file of variables.
func envFileOf(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAFileOfVariablesSetsWhatTheEnvironmentLeavesOut(t *testing.T) {
	name := envFileOf(t, "\ufeff# a comment\r\nexport HUB_WORKERS=7\nWS_PORT = 4001 # behind\nHUB_HISTORY='a*=10,1m;b*=20'\nHUB_NODE=\"a\\\"b\"\n"+
		"HUB_API_KEY=\"0123456789abcdef\\nfedcba9876543210\"\nHUB_PATH=/$HOME\nHUB_MAX_TOPICS=9\nHUB_REPLAY_LIMIT=5\nDATABASE_URL=x\nGOMEMLIMIT=32MiB\n")
	s := parsed(t, map[string]string{"HUB_MAX_TOPICS": "10", "HUB_REPLAY_LIMIT": ""}, "--env-file="+name, "--workers=8")
	c := s.cfg
	if c.Workers != 8 || c.Port != 4001 || strings.Join(c.History, "|") != "a*=10,1m|b*=20" || c.Node != `a"b` || len(c.APIKey) != 2 || c.Path != "/$HOME" {
		t.Errorf("read %+v", c)
	}
	if c.MaxTopics != 10 || c.ReplayLimit != 1000 { // also an empty variable of the environment wins
		t.Errorf("the environment does not win: %d, %d", c.MaxTopics, c.ReplayLimit)
	}
	if got := slices.Sorted(maps.Keys(s.env.file.vars)); slices.Contains(got, "DATABASE_URL") || slices.Contains(got, "GOMEMLIMIT") || s.env.file.other != 2 || c.MemoryLimit != 0 {
		t.Errorf("took %q, left %d", got, s.env.file.other)
	}
	for _, name := range []string{"HUB_WORKERS", "WS_PORT", "DATABASE_URL"} {
		if _, set := os.LookupEnv(name); set {
			t.Errorf("%s is in the process' environment", name)
		}
	}
}

func TestTheFileOfVariablesIsNamed(t *testing.T) {
	name := envFileOf(t, "WS_PORT=4001\nHUB_WORKERS=0\n")
	code, _, stderr := call(t, nil, "check", "--env-file="+name)
	if code != 2 || !strings.Contains(stderr, "HUB_WORKERS in "+name) {
		t.Errorf("ends with %d: %s", code, stderr)
	}
	name = envFileOf(t, "WS_PORT=4001\nPGHOST=x\n")
	code, stdout, _ := call(t, nil, "check", "--env-file="+name)
	if code != 0 || !strings.Contains(stdout, "read from "+name) || !strings.Contains(stdout, "1 variables of the hub; 1 others") {
		t.Errorf("ends with %d: %s", code, stdout)
	}
	code, _, stderr = call(t, map[string]string{envFileVariable: name}, "run", "--addr=127.0.0.1:0", "--control=off", "--log-format=json")
	if code != 0 || !strings.Contains(stderr, `"env_file":"`+name+`"`) || !strings.Contains(stderr, "WS_PORT in "+name+") has no effect, since --addr") {
		t.Errorf("ends with %d: %s", code, stderr)
	}
}

func TestDotEnvIsReadInTheWorkingDirectoryUnlessToldOtherwise(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	name := envFileOf(t, "HUB_WORKERS=7\n")
	other := envFileOf(t, "HUB_WORKERS=8\n")
	hub := buildHub(t)
	for _, c := range []struct {
		env, args, want string
	}{
		{"", "", "7 HUB_WORKERS in .env"}, {"", "--no-env-file", "4 default"}, {"", "--env-file=off", "4 default"}, {"", "--env-file=" + other, "8 HUB_WORKERS in " + other},
		{"HUB_ENV_FILE=off", "", "4 default"}, {"HUB_ENV_FILE=" + other, "", "8 HUB_WORKERS in " + other}, {"HUB_ENV_FILE=" + other, "--no-env-file", "4 default"},
		{"HUB_WORKERS=9", "", "9 HUB_WORKERS"},
	} {
		cmd := exec.Command(hub, append([]string{"check"}, strings.Fields(c.args)...)...)
		cmd.Dir, cmd.Env = filepath.Dir(name), []string{c.env}
		out, err := cmd.CombinedOutput()
		if !strings.Contains(strings.Join(strings.Fields(string(out)), " "), "--workers "+c.want+" ") {
			t.Errorf("%s %s: %v: no %q in\n%s", c.env, c.args, err, c.want, out)
		}
	}
}

func TestAFileThatOthersCanHaveWrittenIsRefused(t *testing.T) {
	const text = "HUB_API_KEY=secretsecretsecret\n"
	mode := func(m os.FileMode) string {
		name := envFileOf(t, text)
		if err := os.Chmod(name, m); err != nil {
			t.Fatal(err)
		}
		return name
	}
	owned := func(uid, gid int, m os.FileMode) string {
		name := mode(m)
		if err := os.Chown(name, uid, gid); err != nil {
			t.Skip(err)
		}
		return name
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	us := os.Geteuid()
	for what, c := range map[string]struct{ name, want string }{
		"anybody may write it":       {mode(0o602), "others may write it"},
		"a group may write it":       {owned(us, us+1, 0o620), "others may write it"},
		"another user's":             {owned(us+1, us, 0o600), "belongs to user"},
		"a pipe":                     {pipe, "not a regular file"},
		"a directory":                {t.TempDir(), "not a regular file"},
		"too large":                  {envFileOf(t, text+strings.Repeat("#\n", maxEnvFile)), "more than 64 KiB"},
		"not there":                  {filepath.Join(t.TempDir(), "none"), "no such file"},
		"no variables":               {envFileOf(t, "secretsecretsecret\n"), "line 1"},
		"a quote that does not end":  {envFileOf(t, "#\nHUB_API_KEY='secretsecretsecret\n"), "line 2"},
		"a # that would cut a value": {envFileOf(t, "HUB_API_KEY=secretsecret#secret\n"), "line 1: a #"},
		"a name that is none":        {envFileOf(t, "secretsecretsecret!=1\n"), "line 1"},
	} {
		code, stdout, stderr := call(t, nil, "check", "--env-file="+c.name)
		if code != 2 || !strings.Contains(stderr, c.name) || !strings.Contains(stderr, c.want) || strings.Contains(stdout+stderr, "secretsecret") {
			t.Errorf("%s ends with %d: %s%s; want %q", what, code, stdout, stderr, c.want)
		}
	}
	for what, name := range map[string]string{"others may read it": mode(0o644), "the user's own group may write it": owned(us, us, 0o660)} {
		if code, _, stderr := call(t, nil, "check", "--env-file="+name); code != 0 {
			t.Errorf("%s ends with %d: %s", what, code, stderr)
		}
	}
	if code, _, stderr := call(t, map[string]string{envFileVariable: pipe}, "version"); code != 0 {
		t.Errorf("version ends with %d: %s", code, stderr)
	}
}

func TestASecretMayStandInAFile(t *testing.T) {
	file := func(text string) string { return envFileOf(t, text) }
	for name, got := range map[string]func(*config) string{
		"HUB_JWT_SECRET_FILE": func(c *config) string { return c.JWTSecret[0] },
		"HUB_API_KEY_FILE":    func(c *config) string { return c.APIKey[0] },
		"REDIS_URL_FILE":      func(c *config) string { return c.RedisURL },
		"HUB_JWKS_URL_FILE":   func(c *config) string { return c.JWKSURL },
	} {
		want := secret
		if strings.Contains(name, "URL") {
			want = map[string]string{"REDIS_URL_FILE": "redis://:" + secret + "@h:1", "HUB_JWKS_URL_FILE": "https://a.example/" + secret}[name]
		}
		s := parsed(t, map[string]string{name: file(want + "\n")})
		if got(s.cfg) != want || len(s.env.unknown(s.flags)) > 0 {
			t.Errorf("%s is read as %q", name, got(s.cfg))
		}
		// Also from a file of variables.
		if s := parsed(t, nil, "--env-file="+file(name+"='"+file(want)+"'\n")); got(s.cfg) != want {
			t.Errorf("%s in a file is read as %q", name, got(s.cfg))
		}
		for what, bad := range map[string]string{"nothing": file(" \n"), "no file": secret, "a directory": t.TempDir(), "too much": file(strings.Repeat("x", maxEnvFile+1))} {
			code, stdout, stderr := call(t, map[string]string{name: bad}, "check")
			if code != 2 || !strings.Contains(stderr, name) || strings.Contains(stdout+stderr, secret) {
				t.Errorf("%s with %s ends with %d: %s%s", name, what, code, stdout, stderr)
			}
		}
	}
	// A setting that is no secret has no such variable.
	if code, _, stderr := call(t, map[string]string{"HUB_NODE_FILE": "x"}, "check"); code != 2 || !strings.Contains(stderr, "HUB_NODE_FILE is no setting") {
		t.Errorf("ends with %d: %s", code, stderr)
	}
}

func TestTwoNamesThatContradictEachOtherAreNamed(t *testing.T) {
	file := envFileOf(t, "hidden-hidden-hidden\n")
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"HUB_PORT": "4000", "WS_PORT": "4001"}, "HUB_PORT and WS_PORT both set --port and differ: HUB_PORT holds"},
		{map[string]string{"HUB_REDIS_URL": "redis://:hidden@a", "REDIS_URL": "redis://:hidden@b"}, "HUB_REDIS_URL and REDIS_URL both set --redis-url"},
		{map[string]string{"HUB_API_KEY": "hidden-hidden-hidde2", "HUB_API_KEY_FILE": file}, "HUB_API_KEY and HUB_API_KEY_FILE both set --api-key"},
		{map[string]string{"HUB_PORT": "4000", "WS_PORT": "4000 "}, ""},
		{map[string]string{"HUB_PORT": "tcp://10.0.0.1:80", "WS_PORT": "4000"}, ""},
		{map[string]string{"HUB_API_KEY": "hidden-hidden-hidden", "HUB_API_KEY_FILE": file}, ""},
	} {
		code, stdout, stderr := call(t, c.env, "check")
		if (code == 2) != (c.want != "") || !strings.Contains(stderr, c.want) || strings.Contains(stdout+stderr, "hidden") {
			t.Errorf("%v ends with %d: %s%s", c.env, code, stdout, stderr)
		}
		if notes := strings.Join(parsed(t, c.env).notes(), "\n"); !strings.Contains(notes, c.want) {
			t.Errorf("the start says of %v: %s", c.env, notes)
		}
	}
	// The environment may well differ from the file: it wins.
	if code, _, stderr := call(t, map[string]string{"HUB_PORT": "4000"}, "check", "--env-file="+envFileOf(t, "WS_PORT=4001\n")); code != 0 {
		t.Errorf("ends with %d: %s", code, stderr)
	}
}

func TestTheExampleMayBeUsedAsItIs(t *testing.T) {
	uncommented := strings.ReplaceAll(read(t, envExample), "\n#", "\n")
	var lines []string
	for line := range strings.Lines(uncommented) {
		if name, value, ok := strings.Cut(line, "="); ok && isOurs(name) && strings.TrimSpace(value) != "" {
			lines = append(lines, line)
		}
	}
	name := envFileOf(t, strings.Join(lines, ""))
	if code, _, stderr := call(t, nil, "check", "--env-file="+name); code != 0 || len(lines) < 30 {
		t.Errorf("%d lines end with %d: %s", len(lines), code, stderr)
	}
	// A shell reads the same.
	read, err := readEnvFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for name2, value := range read.vars {
		out, err := exec.Command("sh", "-c", `set -a; . "$1"; printenv "$2"`, "sh", name, name2).Output()
		if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != value {
			t.Errorf("a shell reads %s as %q, the hub as %q: %v", name2, got, value, err)
		}
	}
}

func FuzzTheFileOfVariables(f *testing.F) {
	f.Add([]byte("export HUB_A='b c' # d\nB=\"\\u00e4\\n\"\n"))
	f.Add([]byte("A=b#c"))
	f.Add([]byte("A=\"\\ud83d\\ude00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		vars, err := parseEnvFile(text)
		if err == nil {
			for name := range vars {
				if name == "" {
					t.Errorf("a variable without a name in %q", text)
				}
			}
		} else if strings.Count(err.Error(), "\n") > 0 || len(err.Error()) > 300 {
			t.Errorf("%q is refused with %q", text, err)
		}
	})
}

func TestHelpAndVersionNeedNoSettings(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--version", "hub "}, {"version", " ("}, {"help", "Commands:"}, {"help token", "Usage: hub token"}, {"help check", "--connect"}, {"--help", "completion"},
		{"completion bash", "complete -C '"}, {"completion zsh", "bashcompinit"}, {"completion fish", "complete -f -c hub"},
	} {
		code, stdout, stderr := call(t, map[string]string{envFileVariable: "/none"}, strings.Fields(c.args)...)
		if code != 0 || !strings.Contains(stdout, c.want) || stderr != "" {
			t.Errorf("hub %s ends with %d: %s%s", c.args, code, stdout, stderr)
		}
	}
	for args, want := range map[string]string{"help nope": "nope", "completion tcsh": "bash"} {
		if code, _, stderr := call(t, nil, strings.Fields(args)...); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("hub %s ends with %d: %s", args, code, stderr)
		}
	}
}

func TestAShellCompletesCommandsAndFlags(t *testing.T) {
	for line, want := range map[string]string{"hub --log-l": "--log-level", "hub --log-level ": "debug", "hub che": "check", "hub check --conn": "--connect"} {
		t.Setenv("COMP_LINE", line)
		code, stdout, stderr := call(t, map[string]string{"COMP_LINE": line})
		if code != 0 || !slices.Contains(strings.Fields(stdout), want) {
			t.Errorf("%q ends with %d: %q %s", line, code, stdout, stderr)
		}
	}
}
