package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version describes the build of this binary.
type version struct {
	version  string // the module's, or "devel"
	revision string // the commit, with "+dirty" where files were changed; "" if unknown
}

func readVersion() version {
	v := version{version: "devel"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := info.Main.Version; m != "" && m != "(devel)" {
		v.version = m
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if v.revision != "" {
		v.revision += dirty
	}
	return v
}

func (v version) String() string {
	return fmt.Sprintf("hub %s (%s) %s %s/%s", v.version, cmp.Or(v.revision, "revision unknown"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
