package main

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// files are a file system of names and texts.
func files(pairs ...string) fs.FS {
	root := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		root[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return root
}

const (
	machine = "MemTotal:       24731768 kB\nMemFree:        23000000 kB\n"
	v2Mount = "31 23 0:28 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	v1Mount = "30 23 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n" +
		"31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n" +
		"35 30 0:32 / /sys/fs/cgroup/memory rw,relatime shared:11 - cgroup cgroup rw,memory\n"
)

func TestTheLeastLimitOfAllGroupsIsFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		root   fs.FS
		want   byteSize
		of     string
		kernel bool
	}{
		{"nothing is known", files(), 0, "", false},
		{"the machine's", files("proc/meminfo", machine), 24731768 << 10, "this machine", false},
		{"version 2, in a container", files("proc/meminfo", machine, "proc/self/mountinfo", v2Mount, "proc/self/cgroup", "0::/\n",
			"sys/fs/cgroup/memory.max", "268435456\n"), 256 << 20, "this container", true},
		{"version 2, a unit of systemd", files("proc/meminfo", machine, "proc/self/mountinfo", v2Mount, "proc/self/cgroup", "0::/system.slice/wshub.service\n",
			"sys/fs/cgroup/system.slice/wshub.service/memory.max", "max\n", "sys/fs/cgroup/system.slice/wshub.service/memory.high", "134217728\n",
			"sys/fs/cgroup/system.slice/memory.max", "268435456\n"), 128 << 20, "this container", true},
		{"version 2, a group above is the tightest", files("proc/self/mountinfo", v2Mount, "proc/self/cgroup", "0::/a/b/c\n",
			"sys/fs/cgroup/a/b/c/memory.max", "1073741824\n", "sys/fs/cgroup/a/memory.max", "268435456\n"), 256 << 20, "this container", true},
		{"version 2, none", files("proc/meminfo", machine, "proc/self/mountinfo", v2Mount, "proc/self/cgroup", "0::/\n",
			"sys/fs/cgroup/memory.max", "max\n"), 24731768 << 10, "this machine", false},
		{"version 2, more than the machine has", files("proc/meminfo", machine, "proc/self/mountinfo", v2Mount, "proc/self/cgroup", "0::/\n",
			"sys/fs/cgroup/memory.max", "1099511627776\n"), 24731768 << 10, "this machine", false},
		{"version 1, on a host", files("proc/self/mountinfo", v1Mount, "proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/hub\n0::/\n",
			"sys/fs/cgroup/memory/hub/memory.limit_in_bytes", "268435456\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), 256 << 20, "this container", false},
		{"version 1, in a container: the names are the host's", files("proc/self/mountinfo", strings.ReplaceAll(v1Mount, "0:32 /", "0:32 /docker/abc"),
			"proc/self/cgroup", "4:memory:/docker/abc\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"), 256 << 20, "this container", false},
		{"a container with a group of its own inside", files("proc/self/mountinfo", strings.ReplaceAll(v1Mount, "0:32 /", "0:32 /docker/abc"),
			"proc/self/cgroup", "4:memory:/docker/abc/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes", "134217728\n"), 128 << 20, "this container", false},
		{"names of another namespace", files("proc/self/mountinfo", strings.ReplaceAll(v1Mount, "0:32 /", "0:32 /docker/abc"),
			"proc/self/cgroup", "4:memory:/elsewhere\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"), 256 << 20, "this container", false},
		{"both versions", files("proc/self/mountinfo", v1Mount+strings.ReplaceAll(v2Mount, "/sys/fs/cgroup ", "/sys/fs/cgroup/unified "), "proc/self/cgroup", "4:memory:/hub\n0::/\n",
			"sys/fs/cgroup/memory/hub/memory.limit_in_bytes", "268435456\n"), 256 << 20, "this container", false},
		{"a group that is above the namespace's root", files("proc/self/mountinfo", v2Mount, "proc/self/cgroup", "0::/../../other\n",
			"sys/fs/cgroup/memory.max", "268435456\n"), 256 << 20, "this container", true},
		{"nonsense", files("proc/meminfo", "MemTotal: much kB\n", "proc/self/mountinfo", "1 2 3\n - \n a - cgroup2 b c\n", "proc/self/cgroup", "x\n::\n",
			"sys/fs/cgroup/memory.max", "-1\n"), 0, "", false},
	} {
		if got := systemMemory(c.root); got != (memory{c.want, c.of, c.kernel}) {
			t.Errorf("%s: %+v, want %d of %s", c.name, got, c.want, c.of)
		}
	}
}

func FuzzSystemMemory(f *testing.F) {
	f.Add(machine, v1Mount+v2Mount, "4:memory:/hub\n0::/..\n", "268435456\n")
	f.Add("MemTotal: 1 kB", "1 2 3 / /\\040/x rw - cgroup2 a b", "0::/a//b", "max")
	f.Fuzz(func(t *testing.T, meminfo, mounts, own, limit string) {
		m := systemMemory(files("proc/meminfo", meminfo, "proc/self/mountinfo", mounts, "proc/self/cgroup", own, "sys/fs/cgroup/memory.max", limit, "memory.max", limit))
		if m.limit < 0 || m.limit > 0 && m.of == "" {
			t.Errorf("%+v", m)
		}
	})
}
