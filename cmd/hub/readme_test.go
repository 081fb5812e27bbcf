package main

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// update makes the tests write what they would otherwise compare:
//
//	go test ./cmd/hub -run Written -update
var update = flag.Bool("update", false, "write the generated parts of README.md and .env.example")

const (
	readme     = "README.md"
	protocol   = "../../session/PROTOCOL.md"
	channels   = "../../pubsub/README.md"
	envExample = "../../.env.example"
)

func TestTheReadmesSettingsAreWrittenFromTheStruct(t *testing.T) {
	var b strings.Builder
	group := ""
	for _, f := range parsed(t, nil).flags {
		if f.Group == nil {
			continue
		}
		if f.Group.Key != group {
			group = f.Group.Key
			fmt.Fprintf(&b, "\n**%s**\n\n| flag | variable | default | accepts | |\n|---|---|---|---|---|\n", group)
		}
		names := "`" + strings.Join(envNames(f), "` `") + "`"
		fmt.Fprintf(&b, "| `--%s` | %s | %s | %s | %s |\n", f.Name, names, code(f.Default), accepts(f), cell(f.Help))
	}
	generated(t, "settings", b.String())
}

func TestTheReadmesMetricsAreWrittenFromTheList(t *testing.T) {
	var b strings.Builder
	b.WriteString("\n| metric | labels | |\n|---|---|---|\n")
	for _, f := range families {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.name, code(f.label), cell(f.help))
	}
	generated(t, "metrics", b.String())
}

func TestTheReadmesAlertsAreWrittenFromTheRules(t *testing.T) {
	var b strings.Builder
	b.WriteString("\n| alert | severity | after | then |\n|---|---|---|---|\n")
	for _, r := range readAlerts(t) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Alert, r.Labels["severity"], r.For, cell(r.Annotations["description"]))
	}
	generated(t, "alerts", b.String())
}

func TestTheProtocolsPageKnowsEveryCodeAndCause(t *testing.T) {
	text := read(t, protocol)
	for _, word := range append(errorCodes(), closeCauses()...) {
		if !strings.Contains(text, "`"+word+"`") {
			t.Errorf("%s does not know `%s`", protocol, word)
		}
	}
}

func TestTheExampleEnvironmentIsWrittenFromTheStruct(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Every variable of the hub, with its default or an example. Copy this file to .env in the hub's working directory, or give it to\n# compose (env_file), systemd (EnvironmentFile) or a shell. The hub refuses it if another user or group may write it: chmod 600 .env.\n# Values with ; * # $ or blanks stand in single quotes. A secret may also stand in a file that …_FILE names, as in\n# HUB_JWT_SECRET_FILE=/run/secrets/jwt.\n")
	for _, f := range parsed(t, nil).flags {
		if f.Group == nil {
			continue
		}
		name := envNames(f)[0]
		if also := f.Tag.Get("also"); also != "" {
			name = also
		}
		fmt.Fprintf(&b, "\n# %s\n#%s=%s\n", f.Help, name, shellQuoted(cmp.Or(f.Tag.Get("example"), f.Default)))
	}
	if *update {
		write(t, envExample, b.String())
	}
	if read(t, envExample) != b.String() {
		t.Errorf("%s is not what the settings say; go test ./cmd/hub -run Written -update", envExample)
	}
}

func TestPagesAndFilesToDeployNameOnlyVariablesThatExist(t *testing.T) {
	known := map[string]bool{envFileVariable: true}
	for _, f := range parsed(t, nil).flags {
		for _, name := range names(f) {
			known[name] = true
		}
	}
	var files []string
	err := filepath.WalkDir("deploy", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range append(files, pages(t)...) {
		for _, name := range regexp.MustCompile(`\b(HUB_[A-Z_]+|REDIS_URL|WS_PORT)\b`).FindAllString(read(t, path), -1) {
			if !known[name] {
				t.Errorf("%s: there is no %s", path, name)
			}
		}
	}
}

// shellQuoted is value as a shell and the hub read it alike.
func shellQuoted(value string) string {
	if strings.ContainsAny(value, ";*#$&|<>()?!~`\"\\ \t") {
		return "'" + value + "'"
	}
	return value
}

// generated holds the part of README.md between two marks of that name to want.
func generated(t *testing.T, name, want string) {
	t.Helper()
	text := read(t, readme)
	begin, end := "<!-- begin "+name+" -->\n", "\n<!-- end "+name+" -->"
	before, rest, ok1 := strings.Cut(text, begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("README.md has no part %q", name)
	}
	if *update {
		write(t, readme, before+begin+want+end+after)
		return
	}
	if got != want {
		t.Errorf("README.md's %s are not what the code says; go test ./cmd/hub -run Written -update", name)
	}
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
