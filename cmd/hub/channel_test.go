package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"wshub/pubsub"
	"wshub/pubsub/redistest"
)

func TestAChannelIsToldWithItsCommand(t *testing.T) {
	b := &backend{}
	at := b.start(t)
	for _, c := range []struct {
		query   string
		sharded bool
		want    string
	}{
		{"topic=news", false, `{"topic":"news","partition":70,"channel":"c:news","publish":"PUBLISH"}`},
		{"topic=news", true, `{"topic":"news","partition":70,"channel":"c:news","publish":"SPUBLISH"}`},
		{"topic=user%3A42+%7Bx%7D", true, `{"topic":"user:42 {x}","partition":112,"channel":"c:user:42 {x}","publish":"SPUBLISH"}`},
		{"topic=gr%C3%B6%C3%9Fe", false, `{"topic":"größe","partition":154,"channel":"c:größe","publish":"PUBLISH"}`},
	} {
		b.sharded = c.sharded
		status, body, header := ask(t, "GET", at+"/api/channel?"+c.query, "")
		if status != 200 || strings.TrimSpace(body) != c.want || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s is answered %d %s, want %s", c.query, status, body, c.want)
		}
	}
}

func TestBadQuestionsForAChannelAreRefused(t *testing.T) {
	at := (&backend{}).start(t, "--api-key=0123456789abcdef")
	withKey := []string{"X-API-Key", "0123456789abcdef"}
	for _, c := range []struct {
		query  string
		header []string
		status int
		code   string
	}{
		{"?topic=news", nil, 401, "unauthorized"},
		{"", withKey, 400, "bad_request"},
		{"?topic=news&topic=sport", withKey, 400, "bad_request"},
		{"?topic=news&prefix=x", withKey, 400, "bad_request"},
		{"?Topic=news", withKey, 400, "bad_request"},
		{"?topic=news&%zz=1", withKey, 400, "bad_request"},
		{"?topic=100%", withKey, 400, "bad_request"},
		{"?topic=a;b", withKey, 400, "bad_request"},
		{"?topic=", withKey, 400, "bad_topic"},
		{"?topic=a%00b", withKey, 400, "bad_topic"},
		{"?topic=%FF", withKey, 400, "bad_topic"},
		{"?topic=" + strings.Repeat("x", 256), withKey, 400, "bad_topic"},
		{"?topic=" + strings.Repeat("%41", 255), withKey, 200, ""},
	} {
		status, body, _ := ask(t, "GET", at+"/api/channel"+c.query, "", c.header...)
		code := ""
		if status != 200 {
			code, _ = errorOf(t, body)
		}
		if status != c.status || code != c.code {
			t.Errorf("%.40q is answered %d %s", c.query, status, body)
		}
	}
}

func TestWithoutRedisThereIsNoChannel(t *testing.T) {
	h := startInside(t)
	status, body, _ := ask(t, "GET", h.control+"/api/channel?topic=news", "")
	if code, retry := errorOf(t, body); status != 404 || code != "no_redis" || retry || !strings.Contains(body, "POST /api/publish") {
		t.Errorf("answered %d %s", status, body)
	}
}

// An event that a backend publishes on the channel it was told reaches the topic's followers.
func TestFollowersHearTheChannelThatIsTold(t *testing.T) {
	redis := redistest.Start(t)
	h := startInside(t, "--redis-url="+redis.URL())
	for _, topic := range []string{"news", "channel", "user:42", "größe {x}: %&+<"} {
		status, body, _ := ask(t, "GET", h.control+"/api/channel?topic="+url.QueryEscape(topic), "")
		var told struct{ Topic, Channel, Publish string }
		if err := json.Unmarshal([]byte(body), &told); err != nil || status != 200 || told.Topic != topic {
			t.Fatalf("%s is answered %d %s, %v", topic, status, body, err)
		}
		c := dial(t, topic, h.public+"?user=42", "hub.v1.json")
		c.want(`{"type":"welcome"`)
		follow, _ := json.Marshal(map[string]any{"type": "subscribe", "id": 1, "topic": topic})
		c.say(string(follow))
		c.want(`{"type":"subscribed","id":1`)
		redis.CLI(told.Publish, told.Channel, `{"to":"`+topic+`"}`)
		c.wantEvent(topic, `{"to":"`+topic+`"}`)
	}
}

// The programs of pubsub/README.md are run, less their lines that connect to Redis, beside the tags.json that they read.
func TestThePagesShardedChannelsAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	_, text, found := strings.Cut(read(t, channels), "\n## Raw publishing in a cluster\n")
	if !found {
		t.Fatal("the page does not say how to publish in a cluster")
	}
	var file struct{ Tags []string }
	if err := json.Unmarshal([]byte(read(t, "../../pubsub/tags.json")), &file); err != nil {
		t.Fatal(err)
	}
	channel := func(topic string) string {
		return fmt.Sprintf("hub:{%s}:t:%s", file.Tags[pubsub.Partition(topic)], topic)
	}
	for _, want := range []string{
		fmt.Sprintf(`{"topic":"news","partition":%d,"channel":"%s","publish":"SPUBLISH"}`, pubsub.Partition("news"), channel("news")),
		fmt.Sprintf("SPUBLISH '%s' ", channel("news")),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %s", want)
		}
	}
	topics, want := []string{"größe {x} 🙂"}, []string(nil)
	for i := range 300 {
		topics = append(topics, fmt.Sprint("topic:", i))
	}
	for _, topic := range topics {
		want = append(want, channel(topic))
	}
	given, _ := json.Marshal(topics)
	for _, program := range []struct{ language, command, flags, end string }{
		{"js", "node", "--input-type=module -e", "console.log(JSON.stringify(JSON.parse(process.argv[1]).map(channel)))"},
		{"python", "python3", "-c", "import sys; print(json.dumps([channel(topic) for topic in json.loads(sys.argv[1])]))"},
	} {
		t.Run(program.language, func(t *testing.T) {
			path, err := exec.LookPath(program.command)
			if err != nil {
				if program.command == "node" && os.Getenv("WSHUB_REQUIRE_NODE") == "1" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			lines := slices.DeleteFunc(strings.Split(block(t, text, program.language), "\n"), func(line string) bool {
				return strings.Contains(line, "Cluster") || strings.Contains(line, "redis.")
			})
			code := strings.Join(append(lines, program.end), "\n")
			cmd := exec.CommandContext(t.Context(), path, append(strings.Fields(program.flags), code, string(given))...)
			cmd.Dir, cmd.Stderr = "../../pubsub", t.Output()
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			if err := json.Unmarshal(out, &got); err != nil || !slices.Equal(got, want) {
				t.Errorf("the page's program gives %.200q, %v; want %.200q", got, err, want)
			}
		})
	}
}

// block is the first block of code in a language.
func block(t *testing.T, text, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n```"+language+"\n")
	code, _, ended := strings.Cut(rest, "\n```\n")
	if !found || !ended {
		t.Fatalf("no code in %s", language)
	}
	return code
}
