package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"wshub/pubsub"
)

// connectTime is how long check --connect waits for Redis.
const connectTime = 5 * time.Second

// check prints the values of the settings and the source of each. A bad one is a usageError, and so is a variable
// that looks like one and is none, or contradicts another; a Redis that can't be used is an ordinary error.
func check(ctx context.Context, s *settings, stdout io.Writer) error {
	if err := errors.Join(s.validate(), s.doubts()); err != nil {
		return usageError{err}
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, f := range s.flags {
		if f.Group == nil {
			continue
		}
		fmt.Fprintf(table, "--%s\t%s\t%s\n", f.Name, s.value(f), cmp.Or(s.follows[f.Name], s.source[f.Name], "default"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(stdout)
	if note := s.env.file.note(); note != "" {
		fmt.Fprintln(stdout, note)
	}
	for _, note := range s.notes() {
		fmt.Fprintln(stdout, note)
	}
	if !s.line.Check.Connect {
		return nil
	}
	return checkBroker(ctx, s.cfg, stdout)
}

// checkBroker tries the hub's operations in Redis, and prints its findings for each server.
func checkBroker(ctx context.Context, c *config, stdout io.Writer) error {
	log, _ := newLogger(c, stdout)
	pubsub.LogClient(log)
	broker, err := newBroker(c, log, &listener{})
	if err != nil {
		return err
	}
	redis, ok := broker.(*pubsub.Redis)
	if !ok {
		fmt.Fprintln(stdout, "No Redis is set: events stay in the process, and there is nothing to connect to.")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	report := redis.Check(ctx)
	clean := c.clean.writer(stdout)
	for _, finding := range report {
		fmt.Fprintln(clean, finding)
	}
	if err := report.Err(); err != nil {
		return fmt.Errorf("redis %s: %w", maskRedis(c.RedisURL), err)
	}
	fmt.Fprintln(stdout, "The broker works.")
	return nil
}
