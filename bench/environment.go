package bench

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Environment is where a report was made: figures of two environments do not compare.
type Environment struct {
	OS        string   `json:"os"`
	Kernel    string   `json:"kernel"`
	CPU       string   `json:"cpu"`
	Cores     int      `json:"cores"`
	MemoryMB  int64    `json:"memory_mb"`
	OpenFiles uint64   `json:"open_files"` // hard limit
	PortRange string   `json:"port_range,omitempty"`
	Backlog   string   `json:"somaxconn,omitempty"`
	Go        string   `json:"go"`
	Commit    string   `json:"commit,omitempty"`
	Args      []string `json:"args"`
}

func readEnvironment(args []string) Environment {
	e := Environment{OS: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version(), Args: masked(args)}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		e.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	e.CPU = cpuModel()
	if values, err := colonFile("/proc/meminfo"); err == nil {
		e.MemoryMB = values["MemTotal"] >> 10
	}
	e.OpenFiles = openFiles()
	e.PortRange = sysctl("net/ipv4/ip_local_port_range")
	e.Backlog = sysctl("net/core/somaxconn")
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				e.Commit = s.Value[:min(12, len(s.Value))] + e.Commit
			case s.Key == "vcs.modified" && s.Value == "true":
				e.Commit += "+changes"
			}
		}
	}
	return e
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func sysctl(name string) string {
	b, _ := os.ReadFile("/proc/sys/" + name) // not on every system
	return strings.Join(strings.Fields(string(b)), " ")
}

// openFiles raises this process's limit of open files as far as it may and returns it.
func openFiles() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	if limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			limit = raised
		}
	}
	return uint64(limit.Cur)
}

// colonFile reads the numbers of a file with lines like "Name:  17 kB".
func colonFile(path string) (map[string]int64, error) {
	b, err := os.ReadFile(path)
	values := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
				values[name] = n
			}
		}
	}
	return values, err
}
