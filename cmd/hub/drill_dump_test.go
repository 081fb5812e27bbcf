package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/redis/go-redis/v9"
)

// dump logs what a master has of members that should not be there, once a presence drill has failed.
func (d *presenceDrill) dump(addr string, truth map[string]fold) {
	ctx := d.t.Context()
	db := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2})
	defer db.Close()
	keys, _ := db.Keys(ctx, "hub:{*}:m:*").Result()
	for _, key := range keys {
		tag, topic, _ := strings.Cut(key, "m:")
		for session, v := range db.HGetAll(ctx, key).Val() {
			if _, ok := truth[topic][session]; ok || len(v) < 14 {
				continue
			}
			for i := range d.hubCount() {
				r, _ := http.NewRequestWithContext(ctx, http.MethodGet, d.hub(i).control+"/api/session?id="+session, http.NoBody)
				r.Header.Set("X-API-Key", apiKey)
				if res, err := d.http.Do(r); err == nil {
					known, _ := io.ReadAll(res.Body)
					_ = res.Body.Close()
					d.t.Logf("hub %d: %s", i, known)
				}
			}
			n := int(binary.BigEndian.Uint16([]byte(v[12:14])))
			boot := v[14 : 14+n]
			entry := db.HGet(ctx, tag+"b:"+boot, topic+"\x00"+session)
			d.t.Logf("%s: %s of boot %q, generation %d, since %d; its entry: %q %v; boots %q; fence %q", key, session, boot,
				binary.BigEndian.Uint32([]byte(v)), binary.BigEndian.Uint64([]byte(v[4:])), entry.Val(), entry.Err(),
				db.SMembers(ctx, tag+"boots").Val(), fmt.Sprint(db.ZRangeWithScores(ctx, tag+"fence", 0, -1).Val()))
		}
	}
	for _, key := range db.Keys(ctx, "hub:{*}:leases").Val() {
		d.t.Logf("%s: %v; now %s", key, db.ZRangeWithScores(ctx, key, 0, -1).Val(), db.Time(ctx).Val())
	}
}
