package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
	"wshub/session"
)

const (
	dashboardFile  = "deploy/grafana.json"
	alertsFile     = "deploy/alerts.yaml"
	alertsTestFile = "testdata/alerts_test.yaml"
)

// dashboard is what of Grafana's model the tests look at.
type dashboard struct {
	Annotations struct{ List []shownQuery }
	Templating  struct{ List []struct{ Definition string } }
	Panels      []struct {
		ID          int
		Type, Title string
		GridPos     struct{ X, Y, W, H int }
		Targets     []shownQuery
	}
}

type shownQuery struct{ Expr string }

// alertRule is one rule of Prometheus.
type alertRule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func readAlerts(t *testing.T) (rules []alertRule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal([]byte(read(t, alertsFile)), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

// metricName finds the metrics of a hub in an expression or a text.
var metricName = regexp.MustCompile(`\b(wshub|go|process)_[a-z0-9_]+`)

// The dashboard shows every family, and neither it nor an alert names one that a hub does not have.
func TestTheDashboardAndTheAlertsNameMetricsThatExist(t *testing.T) {
	known := map[string]bool{"wshub_api_answers_total": true}
	all, err := newRegistry(counted(engine.Stats{}, session.Stats{}, pubsub.Snapshot{})).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		known[f.GetName()] = true
	}
	for _, f := range families { // some have no sample without a reason
		known[f.name] = true
	}
	shown := map[string]bool{}
	for _, path := range []string{dashboardFile, alertsFile, alertsTestFile} {
		for _, name := range metricName.FindAllString(read(t, path), -1) {
			if !known[name] {
				name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			}
			if !known[name] {
				t.Errorf("%s: there is no %s", path, name)
			}
			shown[name] = shown[name] || path == dashboardFile
		}
	}
	for _, f := range families {
		if !shown[f.name] {
			t.Errorf("%s does not show %s", dashboardFile, f.name)
		}
	}
}

// Each alert waits for some time, has a severity, says what to do and where to read on, and is tried.
func TestEveryAlertSaysWhatToDo(t *testing.T) {
	anchors := headings{}
	tried := read(t, alertsTestFile)
	for _, r := range readAlerts(t) {
		if r.For == "" || !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) {
			t.Errorf("%s: for %q, severity %q", r.Alert, r.For, r.Labels["severity"])
		}
		if !strings.HasSuffix(r.Annotations["summary"], ".") || !strings.HasSuffix(r.Annotations["description"], ".") {
			t.Errorf("%s: %q", r.Alert, r.Annotations)
		}
		if page, name, _ := strings.Cut(r.Annotations["runbook"], "#"); page == "" || name == "" {
			t.Errorf("%s has the runbook %q", r.Alert, r.Annotations["runbook"])
		} else if err := followLink(t, anchors, filepath.Join(root, page), "#"+name); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		if !strings.Contains(tried, r.Alert) {
			t.Errorf("%s does not try %s", alertsTestFile, r.Alert)
		}
	}
}

func TestThePanelsOfTheDashboardLieBesideEachOther(t *testing.T) {
	panels := readDashboard(t).Panels
	for i, a := range panels {
		if a.Type != "row" && len(a.Targets) == 0 || a.GridPos.X+a.GridPos.W > 24 {
			t.Errorf("panel %q: %+v", a.Title, a)
		}
		for _, b := range panels[:i] {
			p, q := a.GridPos, b.GridPos
			if a.ID == b.ID || p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H {
				t.Errorf("panels %q and %q: %+v and %+v", a.Title, b.Title, a, b)
			}
		}
	}
}

func TestTheAlertsFireForTheirFaultsOnly(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	promtool := needPrometheus(t, "promtool")
	for _, args := range [][]string{{"check", "rules", alertsFile}, {"test", "rules", alertsTestFile}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Every query of the dashboard has a result in a Prometheus that scrapes two hubs under load, every metric with labels that an
// alert reads is there, and no alert's expression fails.
func TestPrometheusAnswersTheDashboardAndTheAlerts(t *testing.T) {
	drills.Programs(t)
	program := needPrometheus(t, "prometheus")
	t.Parallel()
	controls := []string{"127.0.0.1:" + redistest.FreePort(t), "127.0.0.1:" + redistest.FreePort(t)}
	p := startPrometheus(t, program, controls...) // first: it takes 5 s until it scrapes
	d := newDrill(t, buildHub(t))
	defer d.end()
	cert, key := newAuthority(t).pair()
	d.tls = []string{"--tls-cert=" + cert, "--tls-key=" + key}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer endpoint.Close()
	for _, at := range controls {
		d.startHubs(1, d.redis.URL(), hookArgs(endpoint.URL, "--control="+at)...)
	}
	d.follow()
	d.publish()
	defer d.quiet()

	eventually(t, func() error { return p.has(`count(wshub_ready) == 2`) })
	d.redis.CLI("client", "kill", "type", "pubsub")  // a silence
	for _, f := range d.clients[:len(d.clients)/4] { // closes, and handshakes
		f.cut()
	}
	wanted := map[string]string{} // by whom
	shown := readDashboard(t)
	for _, panel := range shown.Panels {
		for _, q := range panel.Targets {
			wanted[q.Expr] = "the panel " + panel.Title
		}
	}
	for _, v := range shown.Templating.List {
		if m := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
			wanted["count by ("+m[2]+") ("+m[1]+")"] = "a variable"
		} else if v.Definition != "" {
			t.Errorf("a variable is %q", v.Definition)
		}
	}
	for _, q := range shown.Annotations.List {
		wanted[strings.TrimSuffix(q.Expr, " > 0")] = "an annotation"
	}
	for _, r := range readAlerts(t) {
		for _, selector := range regexp.MustCompile(`\b(wshub|go|process)_\w+(\{[^}]*\})?|up\{[^}]*\}`).FindAllString(r.Expr, -1) {
			wanted[selector] = "the alert " + r.Alert
		}
	}
	eventually(t, func() error {
		var missing []error
		for expr, whose := range wanted {
			if err := p.has(expr); err != nil {
				missing = append(missing, fmt.Errorf("%s: %w", whose, err))
				continue
			}
			delete(wanted, expr)
		}
		return errors.Join(missing...)
	})
	eventually(t, p.judged)
}

// needPrometheus is the path of a program of Prometheus. Without it the test is skipped, or fails if WSHUB_REQUIRE_PROMETHEUS
// is 1.
func needPrometheus(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	switch {
	case err == nil:
		return path
	case os.Getenv("WSHUB_REQUIRE_PROMETHEUS") == "1":
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

// prometheusServer is a Prometheus with the alerts of deploy/ that scrapes hubs.
type prometheusServer struct {
	t  *testing.T
	at string
}

// startPrometheus runs one until the test ends, for hubs with these control ports.
func startPrometheus(t *testing.T, program string, controls ...string) *prometheusServer {
	t.Helper()
	rules, err := filepath.Abs(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{ // JSON is YAML
		"global":         map[string]string{"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
		"rule_files":     []string{rules},
		"scrape_configs": []any{map[string]any{"job_name": "wshub", "static_configs": []any{map[string]any{"targets": controls}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "prometheus.yml")
	write(t, file, string(config))
	listen := "127.0.0.1:" + redistest.FreePort(t)
	cmd := exec.Command(program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+listen, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	p := &prometheusServer{t, "http://" + listen}
	eventually(t, func() error {
		select {
		case <-ended:
			t.Fatal("Prometheus has ended")
		default:
		}
		res, err := http.Get(p.at + "/-/ready")
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	})
	return p
}

// has is nil if an expression of the dashboard or of an alert has a result that is a number.
func (p *prometheusServer) has(expr string) error {
	p.t.Helper()
	expr = strings.NewReplacer("$job", "wshub", "$instance", ".*", "$__rate_interval", "30s").Replace(expr)
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	p.get("/api/v1/query?query="+url.QueryEscape(expr), &answer)
	if answer.Error != "" {
		p.t.Fatalf("%s: %s", expr, answer.Error)
	}
	for _, r := range answer.Data.Result {
		if r.Value[1] != "NaN" {
			return nil
		}
	}
	return fmt.Errorf("%s has no result", expr)
}

// judged is nil if every rule was evaluated, and well.
func (p *prometheusServer) judged() error {
	p.t.Helper()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, State, Health, LastError string }
			}
		}
	}
	p.get("/api/v1/rules", &answer)
	n := 0
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			switch {
			case r.LastError != "":
				p.t.Fatalf("%s: %s", r.Name, r.LastError)
			case r.Health != "ok":
				return fmt.Errorf("%s is %s", r.Name, r.Health)
			}
			n++
		}
	}
	if want := len(readAlerts(p.t)); n != want {
		p.t.Fatalf("Prometheus has %d rules, want %d", n, want)
	}
	return nil
}

// get reads an answer of Prometheus.
func (p *prometheusServer) get(path string, into any) {
	p.t.Helper()
	res, err := http.Get(p.at + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		p.t.Fatalf("%s: %s: %v", path, res.Status, err)
	}
}
