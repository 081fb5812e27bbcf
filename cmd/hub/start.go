package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/rs/zerolog"
)

// started is where a hub can be reached.
type started struct{ public, control string } // host:port; control is "" where it is off

// announce says where the hub listens and what an operator should know: to a person in words, and to a
// program as one log line.
func (at started) announce(s *settings, w io.Writer, log zerolog.Logger, console bool) {
	c := s.cfg
	if !console {
		log.Info().Str("addr", at.public).Bool("tls", c.speaksTLS()).Str("path", c.Path).Str("control", at.control).Str("node", c.Node).
			Str("redis", maskRedis(c.RedisURL)).Str("env_file", s.env.file.name).Stringer("version", readVersion()).Msg("listening")
		for _, note := range s.notes() {
			log.Warn().Msg(note)
		}
		return
	}
	fmt.Fprintf(w, "\n  wshub listens on %s://%s%s\n", c.scheme(), at.public, c.Path)
	if at.control != "" {
		scheme := "http"
		if c.ControlTLSCert != "" {
			scheme = "https"
		}
		fmt.Fprintf(w, "  console and API  %s://%s  (try it: %s://%s/try)\n", scheme, at.control, scheme, at.control)
	}
	if c.isOpen() {
		fmt.Fprintf(w, "\n  In a browser's console:\n    ws = new WebSocket('%s://%s%s'); ws.onmessage = e => console.log(e.data); ws.onopen = () => ws.send('{\"hello\":\"world\"}')\n\n", c.scheme(), at.public, c.Path)
	} else {
		fmt.Fprint(w, "\n  Clients need a token. Where there is a --jwt-secret, \"hub token --sub 42\" makes one to try it with.\n\n")
	}
	if note := s.env.file.note(); note != "" {
		fmt.Fprintln(w, "  "+note)
	}
	for _, note := range s.notes() {
		fmt.Fprintln(w, "  "+note)
	}
	fmt.Fprintln(w)
}

// notes are what the settings, and the variables that are none, come to and may surprise. hub check prints the same.
func (s *settings) notes() []string {
	var notes []string
	for _, text := range s.env.unknown(s.flags) {
		notes = append(notes, text+"; it is ignored.")
	}
	for _, text := range s.env.contradictions(s.flags) {
		notes = append(notes, text+".")
	}
	return slices.Concat(notes, s.env.notes(s.flags), s.conflicts(), s.memoryNotes(), s.cfg.notes())
}

// notes are what follows from the settings and may surprise.
func (c *config) notes() []string {
	var notes []string
	if c.isOpen() {
		notes = c.openNotes()
	}
	if c.RedisURL == "" {
		notes = append(notes, "Events stay in this process: no REDIS_URL is set.")
	}
	notes = append(notes, c.roomNotes()...)
	notes = append(notes, c.tlsNotes()...)
	switch {
	case c.controlOff() || len(c.APIKey) > 0:
	case !c.isOpen():
		notes = append(notes, "/api and /debug answer to nobody until there is an --api-key: clients need tokens here, so backends need keys.")
	case !isLoopback(c.Control):
		notes = append(notes, "The control port is reachable by others; /api and /debug answer to this machine only until there is an --api-key.")
		fallthrough
	default:
		notes = append(notes, "There is no --api-key, so every program on this machine may use /api and /debug. A proxy here that adds nothing to a request can't be told from one: give an --api-key before one leads to --control.")
	}
	return notes
}

// openNotes are those of a hub that lets everybody in.
func (c *config) openNotes() []string {
	notes := []string{"Open hub: no keys are configured, so every client may follow and publish everything."}
	if len(c.DefaultSubscribe)+len(c.DefaultPublish) > 0 {
		notes[0] = "Open hub: no keys are configured, so everybody is let in, with the rights of --default-subscribe and --default-publish."
	}
	if isLoopback(c.Addr) {
		notes = append(notes, "It listens on loopback only; web pages served from this machine can reach it.")
	} else {
		notes = append(notes, "Others can reach "+c.Addr+" (--open).")
	}
	if c.TrustUserParam && !isLoopback(c.Addr) {
		notes = append(notes, "Anybody can claim to be any user (--trust-user-param).")
	}
	return notes
}
