package main

import (
	"bufio"
	"bytes"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// This file finds out how much memory Linux lets this process have. Elsewhere nothing is found.

// systemMemory is the least of what the control groups of this process and of all above it allow, and of what the
// machine has. root is the file system's.
func systemMemory(root fs.FS) memory {
	var m memory
	if total := meminfo(root); total > 0 {
		m = memory{limit: byteSize(total), of: "this machine"}
	}
	for _, g := range memoryGroups(root) {
		if limit := g.limit(root); limit > 0 && (m.limit == 0 || byteSize(limit) < m.limit) {
			m = memory{limit: byteSize(limit), of: "this container", kernel: g.unified}
		}
	}
	return m
}

// meminfo is the machine's memory in bytes, or 0.
func meminfo(root fs.FS) int64 {
	text, _ := fs.ReadFile(root, "proc/meminfo")
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "MemTotal:" {
			kib, _ := strconv.ParseInt(string(fields[1]), 10, 53)
			return kib << 10
		}
	}
	return 0
}

// group is a control group as it is mounted here: dir, up to top, are the directories of the group itself and of
// those above it that can be seen.
type group struct {
	top, dir string
	unified  bool // version 2, where the kernel's buffers count, too
}

// limit is the least limit of g and of the groups above it, in bytes, or 0.
func (g group) limit(root fs.FS) int64 {
	files := []string{"memory.limit_in_bytes"}
	if g.unified {
		files = []string{"memory.max", "memory.high"}
	}
	var least int64
	for dir := g.dir; ; dir = path.Dir(dir) {
		for _, name := range files {
			text, _ := fs.ReadFile(root, path.Join(dir, name))
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // "max": none
			if err == nil && n > 0 && n < noLimit && (least == 0 || n < least) {
				least = n
			}
		}
		if len(dir) <= len(g.top) {
			return least
		}
	}
}

// noLimit and more is how version 1 writes that there is none.
const noLimit = 1 << 60

// memoryGroups finds this process's groups that bound memory: at most one of each version.
func memoryGroups(root fs.FS) (groups []group) {
	mounts, _ := fs.ReadFile(root, "proc/self/mountinfo")
	own, _ := fs.ReadFile(root, "proc/self/cgroup")
	for s := bufio.NewScanner(bytes.NewReader(mounts)); s.Scan(); {
		g, isGroup := parseMount(s.Text(), string(own))
		if isGroup {
			groups = append(groups, g)
		}
	}
	return groups
}

// parseMount reads a line of /proc/self/mountinfo (proc(5)): "36 35 98:0 /root /mount rw … - type source options".
// own is /proc/self/cgroup.
func parseMount(line, own string) (g group, isGroup bool) {
	before, after, _ := strings.Cut(line, " - ")
	fields, kind := strings.Fields(before), strings.Fields(after)
	if len(fields) < 5 || len(kind) < 3 {
		return g, false
	}
	controller := ""
	switch kind[0] {
	case "cgroup2":
		g.unified = true
	case "cgroup":
		controller = "memory"
		if !hasWord(kind[2], controller) {
			return g, false
		}
	default:
		return g, false
	}
	inside := ownGroup(own, controller)
	if below, ok := strings.CutPrefix(inside, unescape(fields[3])); ok { // else another namespace's names: what is mounted is ours
		inside = below
	} else {
		inside = ""
	}
	g.top = strings.TrimPrefix(path.Clean(unescape(fields[4])), "/")
	g.dir = path.Join(g.top, path.Clean("/"+inside))
	return g, fs.ValidPath(g.dir)
}

// ownGroup is the group in own, lines of "number:controllers:/path". controller is "" for version 2.
func ownGroup(own, controller string) string {
	for line := range strings.Lines(own) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && (parts[1] == controller || controller != "" && hasWord(parts[1], controller)) {
			return parts[2]
		}
	}
	return ""
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// unescape takes back how mountinfo writes blanks.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
