package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest/drills"
)

// hubJSFolder is where the client lives.
const hubJSFolder = "../../session/hubv1/client"

// maxHubJS is what the client may weigh, minified and compressed, in bytes.
const maxHubJS = 8 << 10

func TestHubJSIsSmall(t *testing.T) {
	out, err := exec.Command(needTool(t, "esbuild"), "--minify", "--format=esm", hubJSFile).Output()
	if err != nil {
		t.Fatal(err)
	}
	var small bytes.Buffer
	z, _ := gzip.NewWriterLevel(&small, gzip.BestCompression) // the level is one
	_, _ = z.Write(out)                                       // a Buffer takes all
	_ = z.Close()
	if t.Logf("%d bytes, minified %d, compressed %d", len(hubJS.Body), len(out), small.Len()); small.Len() > maxHubJS {
		t.Errorf("%d bytes, minified and compressed; want at most %d", small.Len(), maxHubJS)
	}
}

func TestHubJSTypesHold(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	out, err := exec.Command(needTool(t, "tsc"), "--allowJs", "--checkJs", "--strict", "--noEmit", "--target", "es2022", "--lib", "es2022,dom", hubJSFile).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestHubJSIsAPackage: npm pack makes one that Node imports and TypeScript knows.
func TestHubJSIsAPackage(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	node, tsc := needNode22(t), needTool(t, "tsc")
	bin, err := filepath.Abs(filepath.Dir(tsc))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(dir, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	source := filepath.Join(dir, "source")
	if err := os.CopyFS(source, os.DirFS(hubJSFolder)); err != nil {
		t.Fatal(err)
	}
	run(source, "npm", "pack", "--pack-destination", dir)
	packed, _ := filepath.Glob(filepath.Join(dir, "wshub-client-*.tgz"))
	if len(packed) != 1 {
		t.Fatalf("packed: %q", packed)
	}
	user := filepath.Join(dir, "user")
	home := filepath.Join(user, "node_modules/@wshub/client")
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	run(dir, "tar", "xzf", packed[0], "-C", home, "--strip-components=1")
	files, _ := filepath.Glob(home + "/*")
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	if got := strings.Join(files, " "); got != "README.md hub.d.ts hub.js package.json" {
		t.Errorf("the package has %s", got)
	}

	write(t, filepath.Join(user, "use.mts"), `import { Hub, HubError } from '@wshub/client'
const hub = new Hub('ws://127.0.0.1:1/', { token: async ({ reason }) => reason.toUpperCase() })
const off: () => void = hub.on('gap', ({ topic, position, reason }) => console.log(topic, position, reason satisfies 'live' | 'return'))
hub.subscribe('news', (data, event) => console.log(data, event.position), { onError: (e: HubError) => console.log(e.code) }).unsubscribe()
hub.subscribe('room', () => {}, { onPresence: ({ members }, change) => console.log(members?.get('s')?.user, change?.type satisfies 'joined' | 'left' | undefined) })
// @ts-expect-error: no such event
hub.on('nonsense', () => {})
off()
hub.close()
console.log(hub.state)
`)
	path, err := filepath.Abs(node)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(node, "/") {
		node = path
	}
	run(user, filepath.Join(bin, "tsc"), "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "--types", "", "use.mts")
	if out := run(user, node, "use.mjs"); strings.TrimSpace(out) != "closed" {
		t.Errorf("its user prints %q", out)
	}
}

// TestTheFirstExamplesOfTheClientRun: they hear what they publish.
func TestTheFirstExamplesOfTheClientRun(t *testing.T) {
	t.Parallel()
	node := needNode22(t)
	for page, printed := range map[string][]string{
		hubJSFolder + "/README.md": {"online ", "{ hello: 'world' }"},
		root + "/README.md":        {"{ hello: 'world' }"},
	} {
		h := startInside(t)
		dir := t.TempDir()
		_, module, _ := ask(t, "GET", h.control+"/hub.js", "")
		write(t, filepath.Join(dir, "hub.js"), module)
		write(t, filepath.Join(dir, "package.json"), `{"type":"module"}`)
		write(t, filepath.Join(dir, "start.mjs"), strings.ReplaceAll(block(t, read(t, page), "js"), "ws://127.0.0.1:3000/notification", h.public))
		lines := make(chan string, 100)
		runClients(t, exec.CommandContext(t.Context(), node, filepath.Join(dir, "start.mjs")), func(line []byte) { lines <- string(line) })
		late := time.After(patience)
		for _, want := range printed {
			for got := ""; got != want; {
				select {
				case got = <-lines:
				case <-late:
					t.Fatalf("the example of %s does not print %q", page, want)
				}
			}
		}
	}
}
