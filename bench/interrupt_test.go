package bench

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"wshub/pubsub/redistest/drills"
)

// eventually waits for something in another process.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); !happened(); {
		select {
		case <-limit:
			t.Fatalf("%s: not within 20 s", what)
		case <-tick.C:
		}
	}
}

// process starts hubbench as a process of its own.
func process(t *testing.T, output *tail, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"hubbench"}, args...)...)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // where the test has not ended it
		_ = cmd.Wait()
	})
	return cmd
}

func TestTheServerEndsWithHubbench(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for name, c := range map[string]struct {
		signals []syscall.Signal
		server  string // SELF and ADDR are put in; a deaf one does not end by itself
		status  int
		report  bool
	}{
		"interrupted":       {[]syscall.Signal{syscall.SIGINT}, "SELF serve ADDR", exitInterrupted, true},
		"hung up":           {[]syscall.Signal{syscall.SIGHUP}, "SELF serve ADDR", exitInterrupted, true},
		"killed":            {[]syscall.Signal{syscall.SIGKILL}, "SELF serve ADDR deaf", -1, false},
		"interrupted twice": {[]syscall.Signal{syscall.SIGINT, syscall.SIGTERM}, `sh -c "SELF serve ADDR deaf; :"`, exitInterrupted, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.signals[0] == syscall.SIGHUP && signal.Ignored(syscall.SIGHUP) {
				t.Skip("nohup means it")
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			addr, report := freeAddr(t), filepath.Join(t.TempDir(), "report.json")
			var output tail
			cmd := process(t, &output, "run", "idle", "--steps=3", "--rest=0s", "--watch=1h", "--json="+report,
				"--server="+strings.NewReplacer("SELF", self, "ADDR", addr).Replace(c.server), "--url=ws://"+addr+"/notification")
			var pids []int
			eventually(t, "the server listens", func() bool {
				pids = slices.DeleteFunc(listeners(netip.MustParseAddrPort(addr)), func(pid int) bool {
					// Another test may have started a process while freeAddr had the port: it has that until it runs its program.
					words, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
					return !strings.Contains(string(words), "\x00serve\x00"+addr)
				})
				return len(pids) > 0
			})
			t.Cleanup(func() {
				if t.Failed() {
					_ = syscall.Kill(pids[0], syscall.SIGKILL) // it stayed, and nobody else ends it
				}
			})
			for _, s := range c.signals {
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			overdue := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() }) // its status is wrong then
			_ = cmd.Wait()                                                               // its status is asked for below
			overdue.Stop()
			if got := cmd.ProcessState.ExitCode(); got != c.status {
				t.Errorf("status %d, want %d\n%s", got, c.status, &output)
			}
			eventually(t, "the server ends", func() bool {
				_, err := use(pids[0])
				return err != nil
			})
			if r, err := readReport(report); c.report && (err != nil || !r.Interrupted) {
				t.Errorf("the report: %+v, %v", r, err)
			}
		})
	}
}

func TestSecretsAreNotInTheProcessTitle(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var output tail
	cmd := process(t, &output, "run", "idle", "--steps=3", "--watch=1h", "--api-key-is-no-flag="+secret)
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != exitUsage || strings.Contains(output.String(), secret) {
		t.Errorf("an unknown flag: %s", &output)
	}
	cmd = process(t, &output, "run", "idle", "--steps=3", "--watch=1h", "--token", secret,
		"--server="+self+" serve "+addr, "--url=ws://"+addr+"/notification?access="+secret)
	eventually(t, "the server listens", func() bool { return len(listeners(netip.MustParseAddrPort(addr))) > 0 })
	title, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/cmdline")
	if err != nil || strings.Contains(string(title), secret) || !strings.Contains(string(title), "access="+hidden) {
		t.Errorf("%q, %v", title, err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}
