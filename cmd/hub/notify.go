package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/rs/zerolog"
)

// serviceManager is who started the process and wants to hear how it is: systemd with Type=notify, and others that
// speak the protocol of sd_notify(3). Its zero value is nobody.
type serviceManager struct {
	socket string        // the path, or with @ the abstract name, of a datagram socket; "" for nobody
	beat   time.Duration // the manager kills a process that is silent for as long; 0 for never
}

// manager is who the environment names.
func (e environment) manager() serviceManager {
	m := serviceManager{socket: e.vars["NOTIFY_SOCKET"]}
	us, err := strconv.ParseInt(e.vars["WATCHDOG_USEC"], 10, 53)
	pid := e.vars["WATCHDOG_PID"] // another process' if the variables were inherited
	if err == nil && us > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		m.beat = time.Duration(us) * time.Microsecond
	}
	return m
}

// tell sends state, lines of NAME=value. It does not wait: a manager that reads nothing is not told.
func (m serviceManager) tell(state string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	defer conn.Close()
	if err = conn.SetWriteDeadline(time.Now().Add(notifyPatience)); err == nil {
		_, err = conn.Write([]byte(state))
	}
	if err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	return nil
}

// notifyPatience is how long the manager's socket may be full.
const notifyPatience = time.Second

// run tells the manager that the hub has started, at each beat that it lives, and when stopping is closed that it stops,
// for up to the time last. The beats go on while clients are sent away. A manager that can't be told is told of in log, once.
func (m serviceManager) run(live func() error, stopping <-chan struct{}, last time.Duration, log zerolog.Logger) runner {
	if m.socket == "" {
		return func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		}
	}
	failed := false
	tell := func(state string) {
		if err := m.tell(state); err != nil && !failed {
			log.Warn().Err(err).Msg("the service manager can't be told how the hub is")
			failed = true
		}
	}
	return func(ctx context.Context) error {
		tell("READY=1")
		var beats <-chan time.Time
		if m.beat > 0 {
			ticker := time.NewTicker(m.beat / 3)
			defer ticker.Stop()
			beats = ticker.C
		}
		for {
			select {
			case <-beats:
				if live() == nil {
					tell("WATCHDOG=1")
				}
			case <-stopping:
				tell(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", last.Microseconds()))
				stopping = nil
			case <-ctx.Done():
				return nil
			}
		}
	}
}
