package redistest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Deadlines of ask.
const (
	glance = 300 * time.Millisecond // for a question that is repeated: a frozen server is passed over
	wait   = 10 * time.Second
)

// ask runs a command on the server, over a connection of its own that passes by the proxy. The reply is a string,
// an int64, nil or []any of these.
func (s *Server) ask(limit time.Duration, args ...string) (any, error) {
	conn, err := net.DialTimeout("tcp", s.Addr(), limit)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	var command strings.Builder
	fmt.Fprintf(&command, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&command, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(conn, command.String()); err != nil {
		return nil, err
	}
	return parseReply(bufio.NewReader(conn))
}

// do is ask with patience. An error is the test's failure.
func (s *Server) do(args ...string) any {
	s.t.Helper()
	reply, err := s.ask(wait, args...)
	if err != nil {
		s.t.Fatalf("%s: %q: %v", s.Addr(), args, err)
	}
	return reply
}

// refusal is an error that the server answered with.
type refusal string

func (r refusal) Error() string { return string(r) }

// parseReply reads one value of RESP 2; the server's error is an error.
func parseReply(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, line := line[0], strings.TrimSuffix(line[1:], "\r\n")
	switch kind {
	case '+':
		return line, nil
	case '-':
		return nil, refusal(line)
	}
	n, err := strconv.ParseInt(line, 10, 64)
	switch {
	case err != nil || kind == ':':
		return n, err
	case n < 0:
		return nil, nil
	case kind == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return string(text[:n]), err
	case kind != '*':
		return nil, fmt.Errorf("a reply of kind %q", kind)
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = parseReply(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// printed is a reply in redis-cli's words: a list has an element a line, and no value is an empty line.
func printed(reply any) string {
	switch reply := reply.(type) {
	case nil:
		return ""
	case []any:
		lines := make([]string, len(reply))
		for i, one := range reply {
			lines[i] = printed(one)
		}
		return strings.Join(lines, "\n")
	default:
		return fmt.Sprint(reply)
	}
}

// fields reads a reply of names and values in turn.
func fields(reply any) map[string]string {
	list, _ := reply.([]any)
	named := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		named[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return named
}

// isMaster is what the server says of itself.
func (s *Server) isMaster() bool {
	role, _ := s.ask(glance, "role")
	list, _ := role.([]any)
	return len(list) > 0 && list[0] == "master"
}

// offset is how much of a master's stream the server has written, or got; -1 if it does not say.
func (s *Server) offset() int {
	role, _ := s.ask(glance, "role")
	list, _ := role.([]any)
	at := -1
	for i, name := range []string{1: "master", 4: "slave"} {
		if len(list) > i && list[0] == name {
			at, _ = strconv.Atoi(fmt.Sprint(list[i]))
		}
	}
	return at
}

// isReplicaOf is what both say: s follows master, its link is up, and it has acknowledged something. Before that a
// replica can be connected, and get nothing for a second.
func (s *Server) isReplicaOf(master *Server) bool {
	role, _ := s.ask(glance, "role")
	list, _ := role.([]any)
	if len(list) < 4 || list[0] != "slave" || list[3] != "connected" || fmt.Sprintf("%v:%v", list[1], list[2]) != master.public() {
		return false
	}
	role, _ = master.ask(glance, "role")
	list, _ = role.([]any)
	if len(list) < 3 || list[0] != "master" {
		return false
	}
	replicas, _ := list[2].([]any)
	return slices.ContainsFunc(replicas, func(one any) bool {
		replica, _ := one.([]any)
		return len(replica) == 3 && fmt.Sprintf("%v:%v", replica[0], replica[1]) == s.public() && replica[2] != "0"
	})
}
