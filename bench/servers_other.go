//go:build !linux

package bench

import (
	"net/netip"

	"wshub/bench/fleet"
)

func listeners(netip.AddrPort) []int        { return nil }
func use(int) (processUse, error)           { return processUse{}, fleet.ErrNeedsLinux }
func weigh(int) (rss, pss int64, err error) { return 0, 0, fleet.ErrNeedsLinux }
func kernel() kernelUse                     { return kernelUse{} }
func machine() machineUse                   { return machineUse{} }
