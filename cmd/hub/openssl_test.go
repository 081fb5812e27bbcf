package main

import (
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// openssl runs s_client, which says what it is told, line by line once the handshake is over, and then ends.
func openssl(t *testing.T, addr string, input []string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", addr}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	cmd.Stderr = cmd.Stdout
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			break
		}
		if len(input) > 0 && strings.Contains(said.String(), "Verify return code") { // it reads commands from here on, one at a time
			_, _ = io.WriteString(in, input[0]+"\n")
			input = input[1:]
		}
	}
	_ = in.Close()
	_ = cmd.Wait()
	return said.String()
}

func TestOpenSSLSeesVersionsNamesAndTickets(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	a.sign(in("default.crt"), in("default.key"), "ecdsa", 0xAAAA, "any.example")
	a.sign(in("a.crt"), in("a.key"), "ecdsa", 0xBBBB, "a.example")
	h := startInside(t, "--tls-dir="+dir)
	addr := address(h.public)
	quit := []string{"Q"}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"-tls1_3", "-servername", "a.example", "-verify_hostname", "a.example", "-CAfile", a.file, "-alpn", "http/1.1"}, []string{"TLSv1.3", "Verify return code: 0", "ALPN protocol: http/1.1"}},
		{[]string{"-tls1_2", "-servername", "a.example", "-verify_hostname", "a.example", "-CAfile", a.file}, []string{"TLSv1.2", "Verify return code: 0"}},
		{[]string{"-tls1_3", "-noservername", "-verify_hostname", "any.example", "-CAfile", a.file}, []string{"Verify return code: 0"}},
		{[]string{"-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"}, []string{"alert protocol version"}},
		{[]string{"-tls1_3", "-alpn", "h2"}, []string{"alert no application protocol"}},
		{[]string{"-tls1_2", "-sess_out", in("session")}, []string{"New, TLSv1.2"}},
		{[]string{"-tls1_2", "-sess_in", in("session")}, []string{"Reused, TLSv1.2"}},
	} {
		out := openssl(t, addr, quit, c.args...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("openssl s_client %q does not say %q:\n%s", c.args, want, out)
			}
		}
	}
	if out := openssl(t, addr, []string{"R"}, "-tls1_2"); !strings.Contains(out, "unexpected message") {
		t.Errorf("a renegotiation is answered\n%s", out)
	}
}

func TestOpenSSLMayChangeItsKeys(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.pair()
	h := startInside(t, "--tls-cert="+cert, "--tls-key="+key)
	// K asks for new keys on both sides, k changes the client's own; the request behind them is answered with the new ones.
	out := openssl(t, address(h.public), []string{"K", "k", "GET /hub.js HTTP/1.1\nHost: x\n\n"}, "-tls1_3", "-crlf")
	if !strings.Contains(out, "HTTP/1.1 200 OK") {
		t.Errorf("after updates of keys the answer is\n%s", out)
	}
}
