package main

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// ranPages are the pages whose commands are run. Settings and metrics stand in no command.
var ranPages = []string{root + "/README.md", readme, channels, protocol, "../../session/centrifugo/README.md", "../../session/hubv1/README.md", hubJSFolder + "/README.md"}

// docStep is how a command of the pages is run, and what shows that it works.
type docStep struct {
	wants  string            // a regular expression that its output has to match
	closed bool              // the hub that it speaks to wants tokens and a key
	goesOn bool              // it does not end by itself
	code   int               // its exit code
	swap   map[string]string // in place of what takes long or stands for something
	// patience is how long it may take, if that is another time than all else.
	patience time.Duration
	setUp    func(t *testing.T, dir string)
}

// docSteps are the commands of the pages that are run, by their whole text: a block of several lines is one command.
var docSteps = map[string]docStep{
	buildBoth: {patience: 10 * patience}, // before all others

	"./hub --tls-cert=cert.pem --tls-key=key.pem": {wants: `"tls":true`, goesOn: true, setUp: func(t *testing.T, dir string) {
		newAuthority(t).sign(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), "ecdsa", 1, "localhost")
	}},
	"go run ./cmd/hub": {wants: `"message":"listening"`, goesOn: true},
	"REDIS_URL=redis://localhost:6379 go run ./cmd/hub":                                                                              {wants: "connected to redis", goesOn: true},
	"export REDIS_URL=redis://localhost:6379\n./hub --history 'user:*=100,24h' &":                                                    {wants: "connected to redis", goesOn: true, swap: map[string]string{" &": ""}},
	`curl -N -H "Authorization: Bearer $HUB_API_KEY" 'http://127.0.0.1:3001/api/tail?topic=news'`:                                    {wants: `"kind":"begin"`, closed: true, goesOn: true},
	publishing + `'{"percent":20,"over":"60s"}' http://127.0.0.1:3001/api/rebalance`:                                                 {wants: `no_other_hub|"clients":`},
	"curl 'http://127.0.0.1:3001/api/presence?topic=room:1&limit=100'\ncurl 'http://127.0.0.1:3001/api/presence_stats?topic=room:1'": {wants: `(?s)"clients":0,"users":0,"members":\[\]}.*"clients":0,"users":0}`},
	`redis-cli PUBLISH channel '{"any":"json"}'`:                                                                                     {wants: `(?m)^[1-9]`},
	lifecycleReading: {wants: `(?s)"on":false,"streams":\[\].*OK`, swap: map[string]string{"BLOCK 5000": "BLOCK 1"}},
	"curl -N -H 'Accept: text/event-stream' 'http://127.0.0.1:3000/notification?topic=news'":                 {wants: `"type":"subscribed","topic":"news"`, goesOn: true},
	publishing + `'{"topic":"news","data":{"price":2},"key":"order-18"}' http://127.0.0.1:3000/notification`: {wants: `^{("position":".*")?}`},
	"curl -O http://127.0.0.1:3000/hub.js":                                                                                                                                        {wants: "class Hub", swap: map[string]string{"hub.js": "hub.js; cat hub.js"}},
	publishing + `'{"topic":"news","data":{"price":1}}' ` + toPublish:                                                                                                             {wants: `"followers_here":`},
	publishing + `'{"topic":"news","data":{"price":1},"key":"order-17"}' ` + toPublish:                                                                                            {wants: `"followers_here":`},
	publishing + `'{"channel":"chat","data":{"text":"from the backend"}}' http://127.0.0.1:3001/centrifugo/api/publish`:                                                           {wants: `"result":`},
	`curl -H 'Content-Type: application/json' -H "X-API-Key: $HUB_API_KEY" -d '{"channel":"user:42","data":"hello"}' http://127.0.0.1:3001/centrifugo/api/publish`:                {wants: `"result":`, closed: true},
	`curl -H "X-API-Key: $HUB_API_KEY" -H 'Content-Type: application/json' -d '{"user":"42"}' http://127.0.0.1:3001/api/disconnect`:                                               {wants: `"closed_here":0`, closed: true},
	`curl -i -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==' http://127.0.0.1:3000/notification`: {wants: "101 Switching Protocols", code: 28, swap: map[string]string{"curl ": "curl --max-time 1 "}},

	"go build -o hub ./cmd/hub\nexport HUB_JWT_SECRET=$(openssl rand -base64 32) HUB_API_KEY=$(openssl rand -hex 16)\n./hub --history 'user:*=100,24h' &": {
		wants: `"message":"listening"`, goesOn: true, swap: map[string]string{"go build -o hub ./cmd/hub": "test -x hub"}},
	twoHubs: {wants: `(?s)listening.*listening.*hub2 :0 port 2|listening.*hub2 :0 port 2.*listening|hub2 :0 port 2.*listening.*listening`, closed: true, goesOn: true, setUp: copyHAProxy,
		swap: map[string]string{"--port 3011 --control 127.0.0.1:3001": "--port 0", "--port 3012 --control 127.0.0.1:3002": "--port 0",
			"127.0.0.1:3012 port 3002": ":0 port 2", "haproxy -f": "cat", "HUBS=": "# "}},
	"export HUB_JWT_SECRET=$(openssl rand -base64 32) HUB_API_KEY=$(openssl rand -hex 16)\ngo run ./cmd/hub --history '*=100,5m' --default-subscribe '*' --default-publish '*'": {
		wants: `"message":"listening"`, goesOn: true},
	"export HUB_JWT_SECRET=$(openssl rand -base64 32)\ngo run ./cmd/hub &\ngo run ./cmd/hub token --sub 42 --ttl 1h --subscribe 'news:*' --publish chat:lobby | go run ./cmd/hub token verify": {
		wants: `(?s)The token is good.*may follow: news:\*, and user:42`, goesOn: true},
	"./hub token --sub 42 --ttl 1h | ./hub token verify": {wants: `The token is good. Its user is "42"`, closed: true},
	"go run ./cmd/hub token --sub 42":                    {wants: `^ey\S+\.ey\S+\.\S+\n$`, closed: true},
	"./hub token verify --jwt-aud hub < token.txt":       {wants: `refused.\n  aud: aud is "app", want one of \["hub"\]\n  exp: exp was 2h0m\d+s ago`, code: 1, closed: true, setUp: oldToken},
	"hub check":                     {wants: "(?m)^--addr .*default"},
	"hub check --connect":           {wants: "The broker works"},
	"hub help":                      {wants: "(?m)^Usage: hub"},
	"hub --version":                 {wants: "^hub "},
	`eval "$(hub completion bash)"`: {wants: "complete .*hub", swap: map[string]string{`eval "$(hub completion bash)"`: `eval "$(hub completion bash)"; complete -p hub`}},

	"./hubbench run idle --server=./hub --steps=5000,19000 --rest=10s --watch=26s": {
		wants: "socket buffers", swap: map[string]string{"5000,19000": "50,100", "10s": "100ms", "26s": "500ms --settle=100ms"}},
	"./hubbench run fanout --server=./hub --clients=10000 --rate=5 --duration=4s": {
		wants: "came once, in order and whole", swap: map[string]string{"10000": "100", "4s": "500ms --settle=100ms --warmup=100ms"}},
	"./hubbench run max --server=./hub --precision=0.1 --trial=3s": {
		wants: "kept up", swap: map[string]string{"3s": "300ms --from=5 --to=10 --clients=50 --p99=10s --settle=100ms --warmup=100ms"}},
}

const (
	buildBoth  = "go build -o hub ./cmd/hub && go build -o hubbench ./cmd/hubbench"
	publishing = `curl -H 'Content-Type: application/json' -d `
	toPublish  = `http://127.0.0.1:3001/api/publish`
)

// lifecycleReading reads the lifecycle with a consumer group.
const lifecycleReading = "curl http://127.0.0.1:3001/api/lifecycle\nredis-cli XGROUP CREATE 'hub:{p0008d}:lifecycle' app 0 MKSTREAM\nredis-cli XREADGROUP GROUP app worker COUNT 100 BLOCK 5000 STREAMS 'hub:{p0008d}:lifecycle' '>'"

// twoHubs is the tutorial's fleet. TestTheTutorialWorks runs the backend, and the drills HAProxy with its file.
const twoHubs = `export REDIS_URL=redis://localhost:6379
./hub --port 3011 --control 127.0.0.1:3001 --history 'user:*=100,24h' &
./hub --port 3012 --control 127.0.0.1:3002 --history 'user:*=100,24h' &
sed 's/hub1:3000/127.0.0.1:3011/; s/hub2:3000/127.0.0.1:3012 port 3002/; /hub3:3000/d' cmd/hub/deploy/haproxy.cfg > two-hubs.cfg
haproxy -f two-hubs.cfg &
HUBS=http://127.0.0.1:3001,http://127.0.0.1:3002 node app.mjs &`

// lookCost is the program that measures the cost of looks.
const lookCost = `./hub --port 3910 --control 127.0.0.1:3911 &
for u in 'slow?timeout=[2000-9999]ms' 'user?id=42&timeout=[2000-9999]ms' 'topics?timeout=[2000-9999]ms'; do
  curl -s --rate 10/s -o /dev/null "http://127.0.0.1:3911/api/$u" & done # only for the runs with looks
./hubbench run fanout --url=ws://127.0.0.1:3910/notification --publish=http --control=http://127.0.0.1:3911 \
  --clients=19000 --rate=2 --duration=10s`

// notRun are the commands of the pages that are not run here, and why.
var notRun = map[string]string{
	lookCost:                          "it is a measurement",
	"go test ./...":                   "it is what runs this",
	"WSHUB_DRILL=short go test ./...": "it takes minutes, and .ci/run runs it",
	"WSHUB_DRILL=short go test ./cmd/hub -run LoadBalancer":                                         "it wants three load balancers, and .ci/run runs it",
	"WSHUB_DRILL=full go test -count=1 -v -run 'TestARollingRestart$' ./cmd/hub":                    "it takes minutes; .ci/run runs a shorter one",
	"WSHUB_DRILL=full go test -count=1 -v -run TestARollingRestartBehindTheLoadBalancers ./cmd/hub": "it takes minutes; .ci/run runs a shorter one",
	"export HUB_API_KEY=$(openssl rand -hex 16)":                                                    "it is for the next line, which wants Docker",
	"go test -run - -bench Lifecycle -benchtime 3000x ./pubsub":                                     "it is a measurement",
	"npm ci --prefix cmd/hub/testdata":                                                              "it asks npm's registry, and .ci/run runs it",
	"npm install centrifuge ws":                                                                     "it asks npm's registry; the SDK tests run the programs with the modules of testdata",
	"npm install && npm pack":                                                                       "TestHubJSIsAPackage runs npm pack, with the compiler of testdata",
	"npm install ./wshub-client-<version>.tgz":                                                      "TestHubJSIsAPackage runs it",
	"npm test": "hubjs_e2e_test.go runs the file with Node",
	"WSHUB_DRILL=short go test ./cmd/hub -run HubJS":                           "it is a part of WSHUB_DRILL=short go test ./...",
	"node app.mjs &\ncurl -X POST http://127.0.0.1:8000/order":                 "TestTheTutorialWorks runs it",
	"docker compose -f cmd/hub/deploy/compose.yaml up --build":                 "it wants Docker",
	"redis-cli -c -p 7000 SPUBLISH 'hub:{p465y3}:t:news' '{\"any\":\"json\"}'": "it wants a cluster at that port: channel_test.go holds the channel, and pubsub's tests publish so",
	"hub token":         "the command's name",
	"hub token verify":  "it waits for a token: the tutorial's line gives it one",
	"hubbench run idle": "the name of a scenario; README.md's line runs it",
	"./hubbench run fanout --server='./hub --compression=on' --publish=http --compression=on --clients=1000 --rate=10 --size=1024 --duration=4s": "it is a measurement",
	"./hubbench run rooms --server='./hub --compression=on' --publish=http --compression=on --followers=1 --rate=1000 --size=1024 --duration=4s": "it is a measurement",
	"go test ./engine -run '^$' -bench 'Deflate$' -benchtime 20ms -count 8":                                                                      "it is a measurement",
	"hubbench tune": "it takes minutes",
	"curl":          "the program's name",
	"curl -i":       "the program's name",
}

// oldToken writes a token for another audience, two hours too old.
func oldToken(t *testing.T, dir string) {
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "42", "aud": "app", "exp": time.Now().Add(-2 * time.Hour).Unix()}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "token.txt"), text+"\n")
}

func copyHAProxy(t *testing.T, dir string) {
	to := filepath.Join(dir, "cmd/hub/deploy")
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(to, "haproxy.cfg"), read(t, "deploy/haproxy.cfg"))
}

var (
	fencedBlock = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	inlineCode  = regexp.MustCompile("`([^`\n]+)`")
	isCommand   = regexp.MustCompile(`^([A-Z_]+=\S+ )*(export|eval|go|node|curl|redis-cli|npm|docker|(\./)?hub|(\./)?hubbench)( (build|run|test|token|check|help|--|-|'|http|[A-Z]|[a-z]+\.mjs|"|pack|ci|install|compose|tune|HUB)|$)`)
)

// commandsOf are the commands of a page. What a block shows of their output is left out.
func commandsOf(text string) (list []string) {
	for _, m := range fencedBlock.FindAllStringSubmatch(text, -1) {
		block := strings.TrimSpace(m[2])
		if line, _, _ := strings.Cut(block, "\n"); strings.HasPrefix(line, "$ ") {
			block = line[2:]
		}
		if m[1] != "" && m[1] != "sh" || !isCommand.MatchString(block) {
			continue
		}
		lines := strings.Split(block, "\n")
		if slices.ContainsFunc(lines, func(line string) bool { return notRun[line] != "" }) {
			list = append(list, lines...) // each for itself
		} else {
			list = append(list, block)
		}
	}
	for _, m := range inlineCode.FindAllStringSubmatch(fencedBlock.ReplaceAllString(text, ""), -1) {
		if command := strings.ReplaceAll(m[1], `\|`, "|"); isCommand.MatchString(command) && command != "hub" && command != "./hub" && command != "hubbench" && command != "node" && command != "go" {
			list = append(list, command)
		}
	}
	return list
}

// TestTheCommandsOfThePagesRun runs each command that a page has, against hubs and a Redis of its own. One that is new
// has to be in one of the two lists. A plain run looks at the lists only.
func TestTheCommandsOfThePagesRun(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "openssl", "redis-cli"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv(redistest.Required) != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	t.Parallel()
	var d *docs
	if drills.HasPrograms(t) {
		d = startDocs(t)
	}
	found := map[string]bool{}
	for _, page := range ranPages {
		for _, command := range commandsOf(read(t, page)) {
			step, run := docSteps[command]
			switch {
			case found[command], notRun[command] != "", command == buildBoth:
			case !run:
				t.Errorf("%s: nothing runs %q: add it to docSteps, or to notRun with the reason", page, command)
			case d != nil:
				t.Run(command, func(t *testing.T) {
					t.Parallel()
					d.run(t, command, step)
				})
			}
			found[command] = true
		}
	}
	for command := range docSteps {
		if !found[command] {
			t.Errorf("no page has %q", command)
		}
	}
	for command := range notRun {
		if !found[command] {
			t.Errorf("no page has %q", command)
		}
	}
}

// docs is where the commands of the pages are run.
type docs struct {
	dir          string // has the programs
	redis        *redistest.Server
	open, closed *process
}

func startDocs(t *testing.T) *docs {
	d := &docs{dir: t.TempDir(), redis: redistest.Start(t)}
	write(t, filepath.Join(d.dir, ".curlrc"), "silent\nshow-error\nno-buffer\nmax-time = 20\n")
	d.run(t, buildBoth, docSteps[buildBoth])
	if t.Failed() {
		t.FailNow()
	}
	program := filepath.Join(d.dir, "hub")
	d.open = startHub(t, program, d.redis.URL(), "--presence=room:*")
	d.closed = startHub(t, program, d.redis.URL(), "--jwt-secret="+secret, "--api-key="+apiKey)
	for _, h := range []*process{d.open, d.closed} {
		h.await("connected to redis")
		eventually(t, func() error {
			if status, why, _ := ask(t, "GET", h.control+"/readyz", ""); status != http.StatusOK {
				return fmt.Errorf("%s", why)
			}
			return nil
		})
	}
	return d
}

// run runs a command in a shell of its own until it has shown what it should, and ended unless it goes on.
func (d *docs) run(t *testing.T, command string, step docStep) {
	t.Helper()
	if step.setUp != nil {
		step.setUp(t, d.dir)
	}
	script := command
	for old, short := range step.swap {
		if !strings.Contains(script, old) {
			t.Fatalf("there is no %q", old)
		}
		script = strings.ReplaceAll(script, old, short)
	}
	source, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	script = regexp.MustCompile(`go build -o (\w+)`).ReplaceAllString(script, `go build -C "`+source+`" -o "$$PWD/$1"`)
	script = strings.ReplaceAll(script, "go run ./cmd/hub", "hub")
	if h := d.open; h != nil {
		if step.closed {
			h = d.closed
		}
		public, _, _ := strings.Cut(strings.TrimPrefix(h.public, "ws://"), "/")
		script = strings.NewReplacer("127.0.0.1:3000", public, "http://127.0.0.1:3001", h.control, "redis://localhost:6379", d.redis.URL(),
			"redis-cli ", "redis-cli -p "+d.redis.Addr()[strings.LastIndexByte(d.redis.Addr(), ':')+1:]+" ").Replace(script)
	}
	port, redis := "0", d.redis // a hub that is started takes any port
	if strings.HasPrefix(command, "./hubbench") {
		port, redis = redistest.FreePort(t), redistest.Start(t)
		script = strings.Replace(script, " --server=", " --url=ws://127.0.0.1:"+port+"/notification --server=", 1)
	}
	env := []string{"PATH=" + d.dir + string(os.PathListSeparator) + os.Getenv("PATH"), "CURL_HOME=" + d.dir, "HUB_ENV_FILE=off", "HUB_LOG_FORMAT=json", "HUB_PORT=" + port, "HUB_CONTROL=127.0.0.1:0"}
	switch {
	case strings.Contains(command, "--connect"), port != "0":
		env = append(env, "REDIS_URL="+redis.URL())
	case step.closed:
		env = append(env, "HUB_JWT_SECRET="+secret, "HUB_API_KEY="+apiKey)
	}
	out := &output{wants: regexp.MustCompile(step.wants), shown: make(chan struct{})}
	cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", script)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = d.dir, append(os.Environ(), env...), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	late := time.After(cmp.Or(step.patience, patience))
	if step.goesOn {
		select {
		case <-out.shown:
		case <-late:
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with the hubs that it started
		<-ended
	} else {
		select {
		case <-ended:
		case <-late:
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		if code := cmd.ProcessState.ExitCode(); code != step.code {
			t.Errorf("it ends with %d, not %d", code, step.code)
		}
	}
	if !out.wants.MatchString(out.String()) || t.Failed() {
		t.Errorf("ran %s\nits output does not match %q:\n%s", script, step.wants, cmp.Or(out.String(), "(none)"))
	}
}

// output takes what a command prints, and says when it is what is wanted.
type output struct {
	wants *regexp.Regexp
	shown chan struct{}

	mu   sync.Mutex
	text strings.Builder
	done bool
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if !o.done && o.wants.MatchString(o.text.String()) {
		o.done = true
		close(o.shown)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
