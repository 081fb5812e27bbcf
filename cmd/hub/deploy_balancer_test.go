package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	pusherhttp "github.com/pusher/pusher-http-go/v5"

	"wshub/pubsub/redistest/drills"
)

// balancerFile is a load balancer's program, its file of deploy/, what of the file is the folders of the program itself, and how the
// program is started.
type balancerFile struct {
	program, file string
	fixed         func(text, folder string) string
	args          func(file, folder string) []string
}

// balancers are the load balancers that deploy/ has a file for. Of the file only host names, ports and the folders of
// the program itself are replaced.
var balancers = []balancerFile{
	{"nginx", "nginx.conf", func(text, folder string) string {
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			text = strings.Replace(text, "http {\n", fmt.Sprintf("http {\n%s_temp_path %s/%[1]s;\n", kind, folder), 1)
		}
		return text
	}, func(file, folder string) []string {
		return []string{"-c", file, "-e", "stderr", "-g", "daemon off; pid " + folder + "/pid;"}
	}},
	{"haproxy", "haproxy.cfg", nil, func(file, _ string) []string { return []string{"-db", "-f", file} }},
	{"caddy", "Caddyfile", nil, func(file, _ string) []string {
		return []string{"run", "--adapter", "caddyfile", "--config", file}
	}},
}

// The files of deploy/ for load balancers start as they stand. Clients get to both hubs through one; a hub that is not
// there costs nobody anything; of a hub that drains all clients find the other one at once, and it gets clients again
// when it is back. Nothing leads to the control port.
func TestTheLoadBalancersFilesWork(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	behindEach(t, func(t *testing.T, net *hubNet) {
		net.startHub(path, 1, "--drain-grace=2s", "--drain-window=300ms")
		second := net.startHub(path, 2)
		net.balance(nil)

		net.awaitHubs(1, 2)
		net.wantShare(t, 20, 1, 2)
		net.wantNoControl(t)
		net.hubs[1].signal(syscall.SIGTERM)
		net.hubs[1].await("draining")
		for range 50 { // while it is not ready, while its port closes, and after
			net.echo(t)
		}
		net.hubs[1].exitCode()
		for range 20 {
			net.echo(t)
		}
		if n := second.metric("wshub_connections"); n < 20 {
			t.Errorf("hub 2 has %v connections", n)
		}
		net.startHub(path, 1)
		net.awaitHubs(1)
		net.wantShare(t, 30, 1)
	})
}

// In a storm of handshakes over --handshake-rate nobody is told that there are no hubs: who is refused hears 503, and when
// to come again.
func TestAStormThroughALoadBalancerIsPaced(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	behindEach(t, func(t *testing.T, net *hubNet) {
		for i := 1; i <= 3; i++ {
			net.startHub(path, i, "--handshake-rate=3")
		}
		net.balance(nil)
		net.awaitHubs(1, 2, 3)

		var mu sync.Mutex
		answers := map[int]int{}
		dial := func() {
			ws, res, err := websocket.Dial(t.Context(), net.url, nil)
			if err == nil {
				t.Cleanup(func() { _ = ws.CloseNow() })
			}
			mu.Lock()
			defer mu.Unlock()
			if res == nil {
				t.Error(err)
				return
			}
			answers[res.StatusCode]++
			if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") == "" {
				t.Error("a 503 without Retry-After")
			}
		}
		eventually(t, func() error { // 30 at a time are more than they take in a second, on any machine
			var all sync.WaitGroup
			for range 30 {
				all.Go(dial)
			}
			all.Wait()
			if answers[101] < 6 || answers[503] < 6 {
				return fmt.Errorf("handshakes by status: %v", answers)
			}
			return nil
		})
		if len(answers) > 2 {
			t.Errorf("handshakes by status: %v", answers)
		}
	})
}

// A client whose head does not end is cut off by each load balancer, and a connection that is open longer than heads may take stays.
func TestALoadBalancerAwaitsNoHeadForEver(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	behindEach(t, func(t *testing.T, net *hubNet) {
		net.startHub(path, 1)
		net.balance(strings.NewReplacer("10s", "1s", net.host(2), net.host(1), net.host(3), net.host(1)).Replace) // all three are this hub
		net.awaitHubs(1)
		healthy := dial(t, "client", net.url, "")
		for _, part := range []string{"", "GET /notification HTTP/1.1\r\nX: "} {
			conn := net.dialPublic(t)
			if _, err := io.WriteString(conn, part); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(conn); err != nil {
				t.Errorf("%q: %v", part, err)
			}
		}
		healthy.say(`{"hello":"world"}`)
		healthy.want(`{"hello":"world"}`)
	})
}

// A stream behind each load balancer ends at the hub when its client goes, though nothing is written to it.
func TestAStreamBehindALoadBalancerEndsWithItsClient(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	behindEach(t, func(t *testing.T, net *hubNet) {
		net.startHub(path, 1, "--heartbeat=5m")
		net.balance(strings.NewReplacer(net.host(2), net.host(1), net.host(3), net.host(1)).Replace) // all three are this hub
		net.awaitHubs(1)
		conn := net.dialPublic(t)
		if _, err := io.WriteString(conn, "GET /notification?user=42 HTTP/1.1\r\nHost: hub\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		sessions := func(want int) {
			t.Helper()
			eventually(t, func() error {
				var views looked
				look(t, net.hubs[1].control, "/api/user?id=42", &views)
				if n := len(views.Sessions); n != want {
					return fmt.Errorf("%d sessions, want %d", n, want)
				}
				return nil
			})
		}
		sessions(1)
		_ = conn.Close()
		sessions(0)
	})
}

// Through each load balancer the hub sees the address of the client, by X-Forwarded-For and, from HAProxy, by the PROXY
// protocol, and none that the client makes up.
func TestHubsBehindALoadBalancerKnowTheirClients(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	for _, b := range balancers {
		for _, source := range []string{"x-forwarded-for", "proxy"} {
			if source == "proxy" && b.program != "haproxy" {
				continue
			}
			t.Run(b.program+" "+source, func(t *testing.T) {
				t.Parallel()
				net := newHubNet(t, b)
				net.startHub(path, 1, "--client-address="+source, "--trusted-proxies="+net.host(9)+",127.0.0.1")
				var adapt func(text string) string
				if source == "proxy" {
					adapt = strings.NewReplacer("default-server check", "default-server send-proxy-v2 check").Replace
				}
				net.balance(adapt)
				net.awaitHubs(1)
				header := http.Header{"X-Forwarded-For": {"6.6.6.6"}, "Forwarded": {"for=6.6.6.6"}}
				eventually(t, func() error { // the balancer may still try the hubs that are not there
					ws, _, err := websocket.Dial(t.Context(), net.url+"?user=42", &websocket.DialOptions{HTTPHeader: header, HTTPClient: net.clientAt(7)})
					if err == nil {
						t.Cleanup(func() { _ = ws.CloseNow() })
					}
					return err
				})
				var views looked
				look(t, net.hubs[1].control, "/api/user?id=42", &views)
				if len(views.Sessions) != 1 || views.Sessions[0].Addr != net.host(7) {
					t.Errorf("the client at %s is seen as %+v", net.host(7), views.Sessions)
				}
			})
		}
	}
}

// Clients of Pusher and their backends come through each load balancer, the largest batch too.
func TestPusherComesThroughALoadBalancer(t *testing.T) {
	drills.Programs(t)
	t.Parallel()
	path := buildHub(t)
	behindEach(t, func(t *testing.T, net *hubNet) {
		net.startHub(path, 1, "--pusher-app=1:app-key:app-secret", "--pusher-api=public")
		net.balance(strings.NewReplacer(net.host(2), net.host(1), net.host(3), net.host(1)).Replace) // all three are this hub
		net.awaitHubs(1)
		at := net.host(9) + ":" + net.public
		backend := &pusherhttp.Client{AppID: "1", Key: "app-key", Secret: "app-secret", Host: at}
		c, socket := dialPusher(t, at, "client")
		subscribePusher(t, c, backend, socket, "private-a", "")
		batch := make([]pusherhttp.Event, 10)
		for i := range batch {
			batch[i] = pusherhttp.Event{Channel: "private-a", Name: "my-event", Data: strings.Repeat(`"`, 10<<10)}
		}
		if _, err := backend.TriggerBatch(batch); err != nil {
			t.Fatal(err)
		}
		for range batch {
			c.want(`{"event":"my-event"`)
		}
	})
}

// behindEach runs a test with each load balancer, side by side.
func behindEach(t *testing.T, test func(t *testing.T, net *hubNet)) {
	for _, b := range balancers {
		t.Run(b.program, func(t *testing.T) {
			t.Parallel()
			test(t, newHubNet(t, b))
		})
	}
}

// needBalancer is the path of a load balancer's program. Without it the test is skipped, or fails if
// WSHUB_REQUIRE_BALANCERS is 1.
func needBalancer(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	switch {
	case err == nil:
		return path
	case os.Getenv("WSHUB_REQUIRE_BALANCERS") == "1":
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

// hubNet is three addresses for hubs, and one for a load balancer, all on the same two ports.
type hubNet struct {
	t               *testing.T
	balancer        balancerFile
	program         string // the balancer's, where it is
	public, control string // ports
	url             string // of clients, at the balancer
	hubs            map[int]*process
}

func newHubNet(t *testing.T, b balancerFile) *hubNet {
	n := &hubNet{t: t, balancer: b, program: needBalancer(t, b.program), hubs: map[int]*process{}}
	n.public, n.control = n.freePort(), n.freePort()
	n.url = "ws://" + n.host(9) + ":" + n.public + "/notification"
	return n
}

// host is the address of hub i; of the balancer for 9. Others on this machine use the 127.0.0.0/24.
func (n *hubNet) host(i int) string { return fmt.Sprintf("127.77.%d.%d", os.Getpid()%256, i) }

// dialPublic opens a connection to the balancer, on which nothing takes longer than a test waits.
func (n *hubNet) dialPublic(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", n.host(9)+":"+n.public)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// clientAt makes connections whose own end is at host i.
func (n *hubNet) clientAt(i int) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(n.host(i))}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
}

// freePort is free on all addresses.
func (n *hubNet) freePort() string {
	n.t.Helper()
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		n.t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

func (n *hubNet) startHub(path string, i int, args ...string) *process {
	n.t.Helper()
	n.hubs[i] = startHub(n.t, path, "", append(args, "--open", "--addr="+n.host(i)+":"+n.public, "--control="+n.host(i)+":"+n.control)...)
	return n.hubs[i]
}

// balance runs the load balancer with its file of deploy/, as adapt changes it, until the test ends.
func (n *hubNet) balance(adapt func(text string) string) {
	n.t.Helper()
	text := read(n.t, "deploy/"+n.balancer.file)
	listen := n.host(9) + ":" + n.public
	for i := 1; i <= 3; i++ {
		text = strings.ReplaceAll(text, fmt.Sprintf("hub%d:3000", i), n.host(i)+":"+n.public)
	}
	for old, now := range map[string]string{ // each stands in one of the files
		"listen 3000": "listen " + listen, "bind :3000": "bind " + listen,
		":3000 {\n": ":" + n.public + " {\n\tbind " + n.host(9) + "\n", "port 3001": "port " + n.control, "health_port 3001": "health_port " + n.control,
	} {
		text = strings.ReplaceAll(text, old, now)
	}
	folder := n.t.TempDir()
	if n.balancer.fixed != nil {
		text = n.balancer.fixed(text, folder)
	}
	if adapt != nil {
		text = adapt(text)
	}
	conf := filepath.Join(folder, n.balancer.file)
	write(n.t, conf, text)
	cmd := exec.Command(n.program, n.balancer.args(conf, folder)...)
	cmd.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
	cmd.Stdout, cmd.Stderr = n.t.Output(), n.t.Output()
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	n.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // nginx takes its workers with it
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	eventually(n.t, func() error {
		select {
		case <-ended:
			n.t.Fatal("the load balancer has ended")
		default:
		}
		conn, err := net.Dial("tcp", listen)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

// awaitHubs returns when the balancer has brought a client to each of these hubs.
func (n *hubNet) awaitHubs(which ...int) {
	n.t.Helper()
	before := map[int]float64{}
	for _, i := range which {
		before[i] = n.hubs[i].metric("wshub_upgraded_total")
	}
	eventually(n.t, func() error {
		ws, _, err := websocket.Dial(n.t.Context(), n.url, nil)
		if err != nil {
			return err
		}
		n.t.Cleanup(func() { _ = ws.CloseNow() }) // stays: the hub with the fewest gets the next one
		for _, i := range which {
			if n.hubs[i].metric("wshub_upgraded_total") == before[i] {
				return fmt.Errorf("no client at hub %d", i)
			}
		}
		return nil
	})
}

// wantShare has clients come, and wants some of them at each of these hubs.
func (n *hubNet) wantShare(t *testing.T, clients int, which ...int) {
	t.Helper()
	before := map[int]float64{}
	for _, i := range which {
		before[i] = n.hubs[i].metric("wshub_upgraded_total")
	}
	for range clients {
		n.echo(t)
	}
	for _, i := range which {
		if n.hubs[i].metric("wshub_upgraded_total") == before[i] {
			t.Errorf("none of %d clients at hub %d", clients, i)
		}
	}
}

// echo has a client come, say something, hear it and stay.
func (n *hubNet) echo(t *testing.T) {
	t.Helper()
	c := dial(t, "client", n.url, "")
	c.say(`{"hello":"world"}`)
	c.want(`{"hello":"world"}`)
}

// wantNoControl asks the balancer for what only the control port has.
func (n *hubNet) wantNoControl(t *testing.T) {
	t.Helper()
	at := "http://" + n.host(9) + ":" + n.public
	for _, path := range []string{"/", "/livez", "/readyz", "/metrics", "/try", "/debug/pprof/", "/api/publish", "/notification/../metrics", "//metrics", "/api/../notification"} {
		r, err1 := http.NewRequestWithContext(t.Context(), "GET", at, nil)
		r.URL.Opaque = "//" + r.URL.Host + path
		res, err2 := http.DefaultTransport.RoundTrip(r)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode < 400 || res.StatusCode >= 500 {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	if res, text, _ := ask(t, "GET", at+"/hub.js", ""); res != 200 || !strings.Contains(text, "class Hub") {
		t.Errorf("/hub.js: %d", res)
	}
}
