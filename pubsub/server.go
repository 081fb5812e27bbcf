package pubsub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// errIsCluster: the server is one of a cluster, and was not addressed as such.
var errIsCluster = errors.New("this redis is a cluster: its URL begins with redis+cluster:// or rediss+cluster://")

// identify returns the scripts for the server at the other end of conn, which m is reached by. They are the ones to
// use from now on.
func (r *Redis) identify(ctx context.Context, m *master, conn *redis.Conn) (*scripts, error) {
	info, err := conn.Info(ctx).Result()
	switch {
	case redis.IsPermissionError(err):
		r.trouble.Warn().Func(Because(err)).Msg("redis does not say which server it is: positions may be given twice after a failover")
	case err != nil:
		return nil, fmt.Errorf("which redis is it: %w", err)
	}
	if isCluster(info) && !r.names.sharded {
		return nil, errIsCluster
	}
	name := serverName(info)
	known := m.scripts.Load()
	if known == nil || known.server != name {
		known = newScripts(name, r.names.sharded)
		m.scripts.Store(known)
	}
	return known, nil
}

func isCluster(info string) bool { return infoField(info, "cluster_enabled") == "1" }

// serverName names, in 16 characters, a server's process and its line of replication: both are new where it
// may lack what another one had. "" if INFO does not show it.
func serverName(info string) string {
	run := infoField(info, "run_id")
	if run == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(run + " " + infoField(info, "master_replid")))
	return hex.EncodeToString(sum[:8])
}

// warnOfServer warns, once, of a server that can't keep this package's promises. INFO shows all of it; of a server
// that forbids INFO nothing is said.
func (r *Redis) warnOfServer(ctx context.Context, m *master) {
	if m.inspected.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ProbeEvery)
	defer cancel()
	info, err := m.prober.Info(ctx).Result()
	if err != nil {
		if redis.IsPermissionError(err) {
			m.inspected.Store(true)
		}
		return
	}
	m.inspected.Store(true)
	if isCluster(info) && !r.names.sharded {
		m.misaddressed.Store(true)
		r.cfg.Log.Error().Str("redis", m.addr).Msg(errIsCluster.Error())
	}
	for _, trouble := range troubles(info) {
		r.cfg.Log.Warn().Str("redis", m.addr).Msg(trouble)
	}
}

// troubles reads INFO's text.
func troubles(info string) (list []string) {
	version, policy := infoField(info, "redis_version"), infoField(info, "maxmemory_policy")
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 7 {
		list = append(list, fmt.Sprintf("redis is version %s: at least 7.0 is needed", version))
	}
	if policy != "" && policy != "noeviction" {
		list = append(list, fmt.Sprintf("redis has maxmemory-policy %s: it may evict history; set noeviction", policy))
	}
	return list
}

// infoField is the value of name in INFO's lines of name:value, or "".
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
