package bench

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// differences names the settings that two reports do not have in common, with both values.
func differences(a, b any) []string {
	flatA, flatB := map[string]string{}, map[string]string{}
	flatten(flatA, "", a)
	flatten(flatB, "", b)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(union(flatA, flatB))) {
		if va, vb := flatA[name], flatB[name]; va != vb {
			all = append(all, fmt.Sprintf("%s %s → %s", name, cmp.Or(va, "none"), cmp.Or(vb, "none")))
		}
	}
	return all
}

// aside are settings that change nothing of what is measured, or that the table tells.
var aside = map[string]bool{"repeat": true, "allow": true, "fail_if": true}

// flatten collects the values of settings by their own names.
func flatten(into map[string]string, name string, value any) {
	if aside[name] {
		return
	}
	switch v := value.(type) {
	case nil:
	case map[string]any:
		for name, value := range v {
			flatten(into, name, value)
		}
	case float64:
		if strings.HasSuffix(name, "_ns") {
			into[strings.TrimSuffix(name, "_ns")] = time.Duration(v).String()
		} else {
			into[name] = strconv.FormatFloat(v, 'f', -1, 64)
		}
	default:
		into[name] = fmt.Sprint(v)
	}
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
