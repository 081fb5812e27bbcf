package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// platformTime is what a stop takes beside the drain: the last callers and the last lines of the log.
const platformTime = closeTime + logPatience

// documents are those of a YAML file.
func documents(t *testing.T, path string) (docs []map[string]any) {
	t.Helper()
	for d := yaml.NewDecoder(strings.NewReader(read(t, path))); ; {
		var doc map[string]any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		docs = append(docs, doc)
	}
}

// at is what stands at a path of names and numbers in doc, which must be there and of that type.
func at[T any](t *testing.T, doc any, path ...any) T {
	t.Helper()
	here := doc
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := here.(map[string]any)
			here = m[step]
		case int:
			list, _ := here.([]any)
			if step >= len(list) {
				t.Fatalf("%v: no such entry", path)
			}
			here = list[step]
		}
	}
	value, ok := here.(T)
	if !ok {
		t.Fatalf("%v is %v", path, here)
	}
	return value
}

// imageEnv are the variables of the image.
func imageEnv(t *testing.T) map[string]string {
	t.Helper()
	return variables(strings.Fields(regexp.MustCompile(`(?m)^ENV (.+)$`).FindStringSubmatch(read(t, "deploy/Dockerfile"))[1]))
}

// wantGoodSettings wants a hub with these variables to start, with nothing to remark, and returns it.
func wantGoodSettings(t *testing.T, env map[string]string, room memory) *settings {
	t.Helper()
	all := imageEnv(t)
	maps.Copy(all, env)
	s := parsedWith(t, environment{vars: all, room: room}, "--max-connections=1000") // this machine may allow fewer files
	if err := s.doubts(); err != nil {
		t.Error(err)
	}
	if notes := append(s.conflicts(), s.memoryNotes()...); len(notes) > 0 {
		t.Errorf("%q", notes)
	}
	return s
}

func TestTheKubernetesFilesFitEachOtherAndTheHub(t *testing.T) {
	const folder = "deploy/kubernetes/"
	kinds := map[string]map[string]any{}
	kustomization := documents(t, folder+"kustomization.yaml")[0]
	var resources []string
	for _, name := range at[[]any](t, kustomization, "resources") {
		resources = append(resources, folder+name.(string))
		for _, doc := range documents(t, folder+name.(string)) {
			kinds[at[string](t, doc, "kind")+" "+at[string](t, doc, "metadata", "name")] = doc
		}
	}
	files, err := filepath.Glob(folder + "*.yaml")
	if err != nil || len(files) != len(resources)+1 {
		t.Errorf("%q, but resources are %q", files, resources)
	}
	deployment := kinds["Deployment wshub"]
	pod := at[map[string]any](t, deployment, "spec", "template", "spec")
	container := at[map[string]any](t, pod, "containers", 0)

	// The variables make a hub, and the command in the comment makes the secret that they need.
	env := map[string]string{}
	command := read(t, folder+"kustomization.yaml")
	for _, v := range at[[]any](t, container, "env") {
		name := at[string](t, v, "name")
		if value, ok := v.(map[string]any)["value"].(string); ok {
			env[name] = value
			continue
		}
		from := at[map[string]any](t, v, "valueFrom")
		secret, ok := from["secretKeyRef"].(map[string]any)
		if !ok {
			env[name] = "wshub-5d9c7-abcde"
			continue
		}
		inCommand := strings.Contains(command, "generic "+secret["name"].(string)+" ") && strings.Contains(command, "--from-literal="+secret["key"].(string)+"=")
		if optional := secret["optional"] == true; optional == inCommand {
			t.Errorf("%s: optional %v, in the command %v", name, optional, inCommand)
		}
	}
	env["REDIS_URL"], env["HUB_API_KEY"], env["HUB_JWT_SECRET"] = "redis://:hunter2222@redis:6379", "0123456789abcdef", "a secret of 32 bytes, and some more"
	delete(env, "HUB_MAX_CONNECTIONS")
	var limit byteSize
	if err := limit.UnmarshalText([]byte(at[string](t, container, "resources", "limits", "memory") + "B")); err != nil {
		t.Fatal(err)
	}
	s := wantGoodSettings(t, env, memory{limit: limit, of: "this container", kernel: true})
	if grace := time.Duration(at[int](t, pod, "terminationGracePeriodSeconds")) * time.Second; grace < s.cfg.drainTime()+platformTime {
		t.Errorf("a stop may take %v, and the pod gets %v", s.cfg.drainTime()+platformTime, grace)
	}

	// Ports: as the hub listens, and as the others call them.
	ports := map[string]string{}
	for _, p := range at[[]any](t, container, "ports") {
		ports[at[string](t, p, "name")] = fmt.Sprint(at[int](t, p, "containerPort"))
	}
	if !strings.HasSuffix(s.cfg.Addr, ":"+ports["public"]) || !strings.HasSuffix(s.cfg.Control, ":"+ports["control"]) {
		t.Errorf("ports are %v, the hub has %s and %s", ports, s.cfg.Addr, s.cfg.Control)
	}
	for path, port := range map[string]string{
		"probe":   at[string](t, container, "readinessProbe", "httpGet", "port"),
		"live":    at[string](t, container, "livenessProbe", "httpGet", "port"),
		"wshub":   at[string](t, kinds["Service wshub"], "spec", "ports", 0, "targetPort"),
		"api":     at[string](t, kinds["Service wshub-api"], "spec", "ports", 0, "targetPort"),
		"network": at[string](t, kinds["NetworkPolicy wshub"], "spec", "ingress", 1, "ports", 0, "port"),
	} {
		if want := map[bool]string{true: "public", false: "control"}[path == "wshub"]; port != want || ports[port] == "" {
			t.Errorf("%s: port %s", path, port)
		}
	}
	if from := kinds["NetworkPolicy wshub"]["spec"].(map[string]any)["ingress"].([]any)[1].(map[string]any)["from"]; from == nil {
		t.Error("everybody reaches the control port")
	}

	// Labels: all select the pods.
	labels := fmt.Sprint(at[map[string]any](t, deployment, "spec", "template", "metadata", "labels"))
	for name, selector := range map[string]map[string]any{
		"deployment": at[map[string]any](t, deployment, "spec", "selector", "matchLabels"),
		"spread":     at[map[string]any](t, pod, "topologySpreadConstraints", 0, "labelSelector", "matchLabels"),
		"public":     at[map[string]any](t, kinds["Service wshub"], "spec", "selector"),
		"api":        at[map[string]any](t, kinds["Service wshub-api"], "spec", "selector"),
		"budget":     at[map[string]any](t, kinds["PodDisruptionBudget wshub"], "spec", "selector", "matchLabels"),
		"network":    at[map[string]any](t, kinds["NetworkPolicy wshub"], "spec", "podSelector", "matchLabels"),
	} {
		if fmt.Sprint(selector) != labels {
			t.Errorf("%s selects %v, the pods have %s", name, selector, labels)
		}
	}

	// The autoscaler's metric is one of ours, and its target one of these.
	scaler := at[map[string]any](t, kinds["HorizontalPodAutoscaler wshub"], "spec")
	if kinds[at[string](t, scaler, "scaleTargetRef", "kind")+" "+at[string](t, scaler, "scaleTargetRef", "name")] == nil {
		t.Error("the autoscaler has no target")
	}
	metric, found := at[string](t, scaler, "metrics", 0, "pods", "metric", "name"), false
	for _, f := range families {
		found = found || f.name == metric
	}
	if !found {
		t.Errorf("there is no metric %s", metric)
	}
}

func TestTheComposeFileFitsTheHub(t *testing.T) {
	compose := documents(t, "deploy/compose.yaml")[0]
	services := at[map[string]any](t, compose, "services")
	balancer := read(t, "deploy/nginx.conf")
	taken := map[string]bool{}
	for name, service := range services {
		if service.(map[string]any)["restart"] == nil {
			t.Errorf("%s is not started again", name)
		}
		for _, port := range service.(map[string]any)["ports"].([]any) {
			mapping := port.(string)
			outside := mapping[:strings.LastIndex(mapping, ":")]
			if !strings.HasPrefix(mapping, "127.0.0.1:") || taken[outside] {
				t.Errorf("%s: port %s is public or taken", name, mapping)
			}
			taken[outside] = true
		}
		if !strings.HasPrefix(name, "hub") {
			continue
		}
		env := map[string]string{}
		for name, value := range at[map[string]any](t, service, "environment") {
			env[name] = strings.NewReplacer("${HUB_API_KEY:?of your backends, 16 characters or more}", "0123456789abcdef").Replace(value.(string))
		}
		s := wantGoodSettings(t, env, memory{})
		stop, err := time.ParseDuration(at[string](t, service, "stop_grace_period"))
		if err != nil || stop < s.cfg.drainTime()+platformTime {
			t.Errorf("a stop may take %v, and %s gets %v", s.cfg.drainTime()+platformTime, name, stop)
		}
		if s.cfg.Node != name || !strings.Contains(balancer, "server "+name+":3000") {
			t.Errorf("%s: node %s, or not in nginx.conf", name, s.cfg.Node)
		}
		if _, err := os.Stat(filepath.Join("deploy", at[string](t, service, "build", "context"), at[string](t, service, "build", "dockerfile"))); err != nil {
			t.Error(err)
		}
	}
}
