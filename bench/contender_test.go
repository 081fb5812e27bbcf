package bench

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const someContenders = `# A comment.
ours needs=go
  --server='hub --port=1' --url=ws://127.0.0.1:1/notification

theirs needs=no-such-program get='apt-get install it' --protocol=centrifugo
  # Another one, among flags.
	load='--publish=nchan --control=http://127.0.0.1:2/p' users=--jwt-secret=s
`

func TestAFileOfServersIsRead(t *testing.T) {
	all, err := parseContenders(someContenders)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	ours, theirs := all[0], all[1]
	if want := []string{"--server=hub --port=1", "--url=ws://127.0.0.1:1/notification"}; ours.name != "ours" || !slices.Equal(ours.flags, want) {
		t.Errorf("%+v", ours)
	}
	for scenario, want := range map[string]string{
		"idle --steps=5":        "--protocol=centrifugo",
		"idle --users":          "--protocol=centrifugo --jwt-secret=s",
		"connect":               "--protocol=centrifugo",
		"rooms":                 "--protocol=centrifugo --publish=nchan --control=http://127.0.0.1:2/p",
		"unicast":               "--protocol=centrifugo --publish=nchan --control=http://127.0.0.1:2/p --jwt-secret=s",
		"max --shape=unicast":   "--protocol=centrifugo --publish=nchan --control=http://127.0.0.1:2/p --jwt-secret=s",
		"max --broadcast=users": "--protocol=centrifugo --publish=nchan --control=http://127.0.0.1:2/p",
	} {
		if got := strings.Join(theirs.flagsFor(strings.Fields(scenario)), " "); got != want {
			t.Errorf("%s: %s, want %s", scenario, got, want)
		}
	}
}

func TestAServerThatIsNotHereIsNamedWithHowToGetIt(t *testing.T) {
	all, err := parseContenders(someContenders)
	if err != nil {
		t.Fatal(err)
	}
	here, left, err := present(all, nil)
	if err != nil || len(here) != 1 || here[0].name != "ours" {
		t.Errorf("%+v, %v", here, err)
	}
	if want := "theirs is left out: no-such-program is not here; get it with: apt-get install it"; len(left) != 1 || left[0] != want {
		t.Errorf("%q", left)
	}
	if here, left, err := present(all, []string{"ours"}); err != nil || len(here) != 1 || len(left) != 0 {
		t.Errorf("only ours: %+v, %q, %v", here, left, err)
	}
	if _, _, err := present(all, []string{"nobody"}); err == nil {
		t.Error("a server that no line names")
	}
	if _, _, err := present(all[1:], nil); err == nil {
		t.Error("nothing is left to be measured")
	}
	file := contender{needs: []string{filepath.Join(t.TempDir(), "module.so")}}
	if file.missing() == "" {
		t.Error("a file that is not there")
	}
	if err := os.WriteFile(file.needs[0], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if need := file.missing(); need != "" {
		t.Errorf("%s is there", need)
	}
}

func TestAFileOfServersThatMakesNoSenseIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a --x\na --y":      "named twice",
		"a hub":             "want needs=",
		"a --server='hub":   "quote",
		"a users='--x=\"y'": "quote",
	} {
		if _, err := parseContenders(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// Each scenario of bench/peers has to make sense with each server there, also those that are not here.
func TestThePeersFitTheirScenarios(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("peers/servers")
	if err != nil {
		t.Fatal(err)
	}
	servers, err := parseContenders(string(text))
	if err != nil || len(servers) < 7 {
		t.Fatalf("%d servers, %v", len(servers), err)
	}
	for _, path := range []string{"peers/scenarios", "peers/scenarios.short"} {
		if text, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		lines, err := parseScenarios(string(text))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		b := &besides{app: &app{stdout: io.Discard, stderr: io.Discard}, servers: servers}
		for _, line := range lines {
			if err := b.openScenario(line); err != nil {
				t.Errorf("%s: %s: %v", path, strings.Join(line, " "), err)
			}
		}
	}
	for _, s := range servers {
		for _, need := range s.needs {
			if need != "hub" && need != "hubbench" && need != "node" && s.get == "" {
				t.Errorf("%s needs %s, and the file does not say how to get it", s.name, need)
			}
		}
	}
}
