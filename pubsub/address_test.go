package pubsub

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestAnAddressIsReadInEachForm(t *testing.T) {
	for raw, want := range map[string]Address{
		"redis://host":                 {Hosts: []string{"host:6379"}},
		"redis://":                     {Hosts: []string{"localhost:6379"}},
		"redis://:6380":                {Hosts: []string{"localhost:6380"}},
		"redis://10.0.0.1:6380/15":     {Hosts: []string{"10.0.0.1:6380"}, DB: 15},
		"redis://host/":                {Hosts: []string{"host:6379"}},
		"redis://host?":                {Hosts: []string{"host:6379"}},
		"REDIS://my_redis.ns.svc.:007": {Hosts: []string{"my_redis.ns.svc.:7"}},
		"redis://[::1]":                {Hosts: []string{"[::1]:6379"}},
		"redis://[fe80::1%25eth0]:1/2": {Hosts: []string{"[fe80::1%eth0]:1"}, DB: 2},
		"redis://:57%23Wc9%40%3A@h:1":  {Hosts: []string{"h:1"}, Password: "57#Wc9@:"},
		"redis://:p@ss:word@h":         {Hosts: []string{"h:6379"}, Password: "p@ss:word"},
		"redis://:@h":                  {Hosts: []string{"h:6379"}},
		"rediss://b%3Ab:p%20w@h/1":     {Hosts: []string{"h:6379"}, User: "b:b", Password: "p w", DB: 1, TLS: true},
		"unix:///run/redis.sock":       {Network: "unix", Hosts: []string{"/run/redis.sock"}},
		"unix://u:p@/r%401.sock?db=2":  {Network: "unix", Hosts: []string{"/r@1.sock"}, User: "u", Password: "p", DB: 2},
		"redis+sentinel://s/m":         {Kind: Sentinel, Hosts: []string{"s:26379"}, Master: "m"},
		"redis+sentinel://s1,s2:1,[::1]/m.y-m_1/3": {
			Kind: Sentinel, Hosts: []string{"s1:26379", "s2:1", "[::1]:26379"}, Master: "m.y-m_1", DB: 3,
		},
		"rediss+sentinel://u:p@s:26380/1/0?sentinel_user=su&sentinel_password=s%26p%2B/=": {
			Kind: Sentinel, Hosts: []string{"s:26380"}, Master: "1", User: "u", Password: "p", SentinelUser: "su", SentinelPassword: "s&p+/=", TLS: true,
		},
		"redis+sentinel://s/m?sentinel_password=sp": {Kind: Sentinel, Hosts: []string{"s:26379"}, Master: "m", SentinelPassword: "sp"},
		"redis+cluster://:p@c1,c2:7001,[::1]:7002/": {Kind: Cluster, Hosts: []string{"c1:6379", "c2:7001", "[::1]:7002"}, Password: "p"},
		"rediss+cluster://c":                        {Kind: Cluster, Hosts: []string{"c:6379"}, TLS: true},
	} {
		if want.Network == "" {
			want.Network = "tcp"
		}
		got, err := ParseAddress(raw)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as %#v, %v; want %#v", raw, got, err, want)
		}
	}
}

func TestEachFaultOfAnAddressHasAName(t *testing.T) {
	for fault, raws := range map[error][]string{
		errScheme:         {"", "host", "localhost:6379", "http://host", "redis:host", "redis+sentinels://host/m", "unix+cluster://h", "redis:/h"},
		errBlank:          {"redis://:a b@h", " redis://h", "redis://h\n", "redis://h\x00", "redis://h\u00a0", "redis://h\u0085"},
		errFragment:       {"redis://:57#Wc9@h", "redis://h#", "unix:///r#s", "redis+cluster://h#1"},
		errTorn:           {"redis://:57/Wc9@h", "redis://:57?Wc9@h", "unix:///a@b", "redis+sentinel://s/m?sentinel_password=a@b"},
		errSpecial:        {"redis://:a[b@h", `redis://:a\b@h`, "redis://:é@h", "redis://:a\xffb@h", "redis://:{{p}}@h", "redis://:<p>@h"},
		errPercent:        {"redis://:a%zz@h", "redis://a%:p@h", "redis://:%4@h", "unix:///%", "redis+sentinel://s/m?sentinel_password=%x"},
		errSeveralAts:     {"redis+cluster://u:p@a,u:p@b", "redis+sentinel://:p@p@a/m"},
		errNoPassword:     {"redis://secret@h", "redis://@h", "redis://user:@h", "redis+cluster://secret@h", "unix://secret@/r"},
		errHost:           {"redis://a%20b", "redis://é", "redis+cluster://", "redis+cluster://a,,b", "redis+cluster://a,", "redis+sentinel:///m", "redis+cluster://:1", `redis://a\b`},
		errColons:         {"redis://h:1:2", "redis://::1", "redis+cluster://a:1,b:1:2", "redis://[::1]:1:2"},
		errBrackets:       {"redis://[::1", "redis://[h]:1", "redis://[127.0.0.1]:1", "redis://[::1]1", "redis://[]", "redis://[fe80::1%25e%20]", "redis://["},
		errPort:           {"redis://h:", "redis://h:0", "redis://h:65536", "redis://h:port", "redis://h:-1", "redis://h:+1", "redis://:secret"},
		errHostList:       {"redis://a:1,b:1", "rediss://a,b"},
		errDatabase:       {"redis://h/one", "redis://h/-1", "redis://h/+1", "redis://h/1/", "redis://h//1", "redis://h/1234567890", "unix:///r?db=x", "redis+sentinel://s/m/x"},
		errClusterDB:      {"redis+cluster://h/0", "redis+cluster://h/m"},
		errMaster:         {"redis+sentinel://s", "redis+sentinel://s/", "redis+sentinel://s/0", "redis+sentinel://s//0", "redis+sentinel://s/m%20", "redis+sentinel://s/m:1"},
		errSocket:         {"unix://", "unix:///", "unix://run/r.sock", "unix://h/r", "unix:///a%00b", "unix://u:p@h/r"},
		errValue:          {"unix:///r?db", "unix:///r?db=", "redis+sentinel://s/m?sentinel_password=a+b", "redis+sentinel://s/m?sentinel_user=", "redis+sentinel://s/m?sentinel_password=a;b"},
		errSentinelOption: {"redis://h?sentinel_user=a", "redis+cluster://h?sentinel_password=a", "unix:///r?sentinel_user=a"},
		errSentinelUser:   {"redis+sentinel://s/m?sentinel_user=a"},
	} {
		for _, raw := range raws {
			if _, err := ParseAddress(raw); !errors.Is(err, fault) {
				t.Errorf("%q: %v; want %v", raw, err, fault)
			}
		}
	}
}

func TestAnUnknownOptionIsNamedUnlessItMayBeAPassword(t *testing.T) {
	for raw, want := range map[string]string{
		"redis://h?dial_timeout=3s":                           "dial_timeout",
		"redis://h?a=1&b=2":                                   "a",
		"redis://h?db=1":                                      "db",
		"redis+cluster://h?skip_verify=true":                  "skip_verify",
		"redis+sentinel://s/m?sentinel_pass=x":                "sentinel_pass",
		"redis+sentinel://s/m?sentinel_password=x&hunter=2":   "",
		"redis+sentinel://s/m?hunter2=x":                      "",
		"redis://h?hunter":                                    "",
		"redis://h?Hunter=1":                                  "",
		"redis://h?a=1&hunter":                                "",
		"redis://h?=":                                         "",
		"redis://h?&":                                         "",
		"redis://h?" + strings.Repeat("a", 33) + "=1":         "",
		"unix:///r?db=1&hunter=2":                             "",
		"unix:///r?hunter=2&db=1":                             "hunter",
		"redis+sentinel://s/m?sentinel_passwort=a&hunter_2=b": "",
	} {
		_, err := ParseAddress(raw)
		var unknown *UnknownOption
		if !errors.As(err, &unknown) || unknown.Name != want {
			t.Errorf("%s: %v; want it to name %q", raw, err, want)
		}
	}
	if _, err := ParseAddress("unix:///r?db=1&db=2"); err == nil || !strings.Contains(err.Error(), `"db" is given twice`) {
		t.Errorf("an option given twice: %v", err)
	}
}

// An Address ends up in error messages and log lines.
func TestAPrintedAddressHoldsNoPassword(t *testing.T) {
	for raw, want := range map[string]string{
		"redis://:hunter22@h":             "redis://:xxxxx@h:6379",
		"rediss://u%40:hunter22@[::1]/1":  "rediss://u%40:xxxxx@[::1]:6379/1",
		"unix://u:hunter22@/r%40%3f?db=1": "unix://u:xxxxx@/r%40%3F?db=1",
		"redis+sentinel://u:hunter22@a,b/m?sentinel_user=s%20u&sentinel_password=hunter22": "redis+sentinel://u:xxxxx@a:26379,b:26379/m/0?sentinel_user=s%20u&sentinel_password=xxxxx",
		"redis+cluster://:hunter22@a,b": "redis+cluster://:xxxxx@a:6379,b:6379",
	} {
		a, err := ParseAddress(raw)
		if got := fmt.Sprintf("%v %+v %s", a, a, a); err != nil || got != want+" "+want+" "+want {
			t.Errorf("%s is printed as %s, %v", raw, got, err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, raw := range []string{
		"redis://u:p@h:1/2", "rediss://[fe80::1%25e]", "unix://:p@/a%20b?db=1", "redis+sentinel://u:p@a,b:1/m/1?sentinel_user=u&sentinel_password=p",
		"rediss+cluster://:p@a,[::1]:2", "redis://h?dial_timeout=1",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := ParseAddress(raw)
		if err != nil {
			return
		}
		if len(a.Hosts) == 0 || a.User != "" && a.Password == "" {
			t.Fatalf("%q is read as %#v", raw, a)
		}
		for _, password := range []*string{&a.Password, &a.SentinelPassword} {
			if *password != "" {
				*password = "xxxxx"
			}
		}
		again, err := ParseAddress(a.String())
		if err != nil || !reflect.DeepEqual(again, a) {
			t.Fatalf("%q, printed as %s, is read as %#v, %v; was %#v", raw, a, again, err, a)
		}
	})
}

// FuzzAddressFaults puts a password where passwords stand, and where those end up that were not escaped.
func FuzzAddressFaults(f *testing.F) {
	for _, password := range []string{"p@ss", "57#1", "a/b?c", "a b", "%zz", "a&b=c", "[", "é", "1"} {
		f.Add(password)
	}
	f.Fuzz(func(t *testing.T, password string) {
		mark := "Wc9" + password + "Wc9" // both ends of a password that was torn
		for _, form := range []string{
			"redis://:%s@h", "rediss://%s@h/1", "redis://u:%s@h:1?x=1", "redis://%s:p@h", "unix://:%s@/r", "redis+sentinel://:%s@a,b/m",
			"redis+sentinel://a/m?sentinel_password=%s", "redis+sentinel://a/m?sentinel_user=%s&sentinel_password=x", "redis+cluster://u:%s@a", "%s",
		} {
			raw := strings.Replace(form, "%s", mark, 1)
			a, err := ParseAddress(raw)
			text := a.String()
			if err != nil {
				text = err.Error()
			} else if strings.Contains(form, "//%s") || strings.Contains(form, "user=%s") { // what is taken for a name is shown
				continue
			}
			if strings.Contains(text, "Wc9") {
				t.Fatalf("%q: %s", raw, text)
			}
			if unknown := (*UnknownOption)(nil); errors.As(err, &unknown) && unknown.Name != "x" && strings.Contains(mark, unknown.Name) && unknown.Name != "" {
				t.Fatalf("%q: %s", raw, text)
			}
		}
	})
}
