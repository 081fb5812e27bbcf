package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// This file reads the claims that issuers of Centrifugo's tokens write: info, b64info, channels, subs and caps; and the hub's own
// presence. All are optional. One that can't be used is left out, with a note, and the token stays good: it may mean something else there.

const (
	// maxInfo bounds an info in bytes: it goes along with events.
	maxInfo = 1 << 10
	// maxChannels bounds the topics that a token names to be followed.
	maxChannels = 128
	// maxNotes bounds the notes on one token.
	maxNotes = 16
)

// further is what these claims say.
type further struct {
	info        json.RawMessage
	channels    []string
	channelInfo map[string]json.RawMessage
	caps        extra // without named
	capsText    json.RawMessage
	presence    []pattern // of the claim presence
	// saysPresence: there is that claim, even if it allows nothing. presenceText are its patterns.
	saysPresence bool
	presenceText []string
	notes        notes
}

// notes say what was left out, and quote nothing.
type notes []string

func (n *notes) add(format string, args ...any) {
	if len(*n) < maxNotes {
		*n = append(*n, fmt.Sprintf(format, args...))
	}
}

// object is a JSON object, its members as they stand.
type object map[string]json.RawMessage

// get reads a member into to. It is ok to have none.
func (o object) get(name string, to any) (ok bool) {
	text, has := o[name]
	return !has || json.Unmarshal(text, to) == nil
}

// read reads the claims of a token of user.
func (f *further) read(s signed, user string) {
	if !s.hasAny("info", "b64info", "channels", "subs", "caps", "presence") {
		return
	}
	claims := s.members()
	f.info = readInfo(claims, "", &f.notes)
	f.readChannels(claims, user)
	f.readCaps(claims)
	f.readPresence(claims)
}

// readPresence reads the claim presence, the hub's own: patterns of topics whose members the user may see.
func (f *further) readPresence(claims object) {
	text, has := claims["presence"]
	if !has {
		return
	}
	var texts []string
	patterns, err := []pattern(nil), json.Unmarshal(text, &texts)
	if err == nil {
		patterns, err = parsePatterns(texts)
	}
	if err != nil {
		f.notes.add("presence: want a list of up to %d patterns", maxPatterns)
		return
	}
	f.presence, f.saysPresence, f.presenceText = patterns, true, texts
}

func (s signed) hasAny(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, ok := s.MapClaims[name]; return ok })
}

// members are the claims as they stand: what MapClaims makes of them rounds large numbers.
func (s signed) members() (o object) {
	_, rest, _ := strings.Cut(s.text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(text, &o) != nil {
		return nil
	}
	return o
}

// readInfo is the claim b64info, or else info, of a token or of one of its channels.
func readInfo(claims object, of string, notes *notes) json.RawMessage {
	info, name := claims["info"], of+"info"
	var encoded string
	if !claims.get("b64info", &encoded) {
		notes.add("%sb64info: want a string", of)
	}
	if encoded != "" {
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			notes.add("%sb64info: want base64", of)
			return nil
		}
		info, name = decoded, of+"b64info"
	}
	if info == nil || string(info) == "null" {
		return nil
	}
	var compact bytes.Buffer // without line ends, which would end a frame of some protocols
	switch err := json.Compact(&compact, info); {
	case err != nil || compact.Bytes()[0] != '{' || !utf8.Valid(info):
		notes.add("%s: want a JSON object", name)
	case compact.Len() > maxInfo:
		notes.add("%s: %d bytes, at most %d are allowed", name, compact.Len(), maxInfo)
	default:
		return slices.Clone(compact.Bytes())
	}
	return nil
}

// readChannels reads the claims channels and subs.
func (f *further) readChannels(claims object, user string) {
	var channels []string
	if !claims.get("channels", &channels) {
		f.notes.add("channels: want a list of names")
		channels = nil
	}
	var subs object
	if !claims.get("subs", &subs) {
		f.notes.add("subs: want an object of names and options")
		subs = nil
	}
	unfit, surplus := 0, 0
	for i, name := range slices.Concat(channels, slices.Sorted(maps.Keys(subs))) {
		switch {
		case !validName(name, maxTopic), strings.HasPrefix(name, "user:") && name != "user:"+user:
			unfit++
			continue
		case slices.Contains(f.channels, name):
		case len(f.channels) == maxChannels:
			surplus++
			continue
		default:
			f.channels = append(f.channels, name)
		}
		if i >= len(channels) {
			f.readOptions(name, subs[name])
		}
	}
	if unfit > 0 {
		f.notes.add("channels, subs: %d are no names of topics, or another user's own topics", unfit)
	}
	if surplus > 0 {
		f.notes.add("channels, subs: %d more than %d", surplus, maxChannels)
	}
	f.channels = slices.Clip(f.channels)
}

// readOptions reads what subs says of one topic. Whether it recovers is the client's to say, so that is not looked at.
func (f *further) readOptions(name string, text json.RawMessage) {
	var options object
	if json.Unmarshal(text, &options) != nil {
		f.notes.add("subs: want an object of options")
		return
	}
	if info := readInfo(options, "subs: ", &f.notes); info != nil {
		if f.channelInfo == nil {
			f.channelInfo = make(map[string]json.RawMessage)
		}
		f.channelInfo[name] = info
	}
}

// readCaps reads the claim caps.
func (f *further) readCaps(claims object) {
	var caps []object
	if !claims.get("caps", &caps) {
		f.notes.add("caps: want a list of objects")
		return
	}
	f.capsText = claims["caps"]
	for i, c := range caps {
		if why := f.caps.add(c); why != "" {
			f.notes.add("caps, entry %d: %s", i+1, why)
		}
	}
}

// add adds the rights of one entry of caps, and notes the parts that it leaves out.
func (x *extra) add(c object) (why string) {
	var names, allow []string
	var match string
	if !c.get("channels", &names) || !c.get("allow", &allow) || !c.get("match", &match) {
		return "channels and allow must be lists of strings, match a string"
	}
	switch match {
	case "", "wildcard":
	case "regex":
		return "match regex is not supported"
	default:
		return "match is not known"
	}
	patterns := make([]pattern, 0, min(len(names), maxPatterns))
	for _, name := range names {
		p := pattern{parts: []string{name}}
		if match == "wildcard" {
			p.parts[0], p.rest = strings.CutSuffix(name, "*")
		}
		switch {
		case !validName(name, maxTopic), p.rest && strings.Contains(p.parts[0], "*"), match == "wildcard" && !p.rest && strings.Contains(name, "*"):
			why = "a channel is no name, or has a * that is not at its end"
		case len(patterns) == maxPatterns:
			why = fmt.Sprintf("more than %d channels", maxPatterns)
		default:
			patterns = append(patterns, p)
		}
	}
	for _, right := range allow {
		list := x.list(right)
		switch {
		case list == nil:
			why = "a right in allow is not known"
		case len(*list)+len(patterns) > maxPatterns:
			return fmt.Sprintf("with it there are more than %d channels", maxPatterns)
		default:
			*list = append(*list, patterns...)
		}
	}
	return why
}

// list is what a name in allow stands for, nil if it is unknown.
func (x *extra) list(right string) *[]pattern {
	switch right {
	case "sub":
		return &x.subscribe
	case "pub":
		return &x.publish
	case "hst":
		return &x.history
	case "prs":
		return &x.presence
	}
	return nil
}

// allowsAny reports whether the claims allow anything.
func (f *further) allowsAny() bool {
	x := &f.caps
	return f.saysPresence || len(f.channels)+len(x.subscribe)+len(x.publish)+len(x.history)+len(x.presence) > 0
}

// extra is what the claims allow, as Rights keep it.
func (f *further) extra() *extra {
	x := f.caps
	x.named, x.sees, x.says = f.channels, f.presence, f.saysPresence
	return &x
}

// appendKey makes key that of rights which f is added to. No claim has control characters such as stand between.
func (f *further) appendKey(key []byte) []byte {
	key = append(append(key, 3), f.capsText...)
	for _, name := range f.channels {
		key = append(append(key, 0), name...)
	}
	if f.saysPresence {
		key = append(key, 4)
		for _, text := range f.presenceText {
			key = append(append(key, 0), text...)
		}
	}
	return key
}
