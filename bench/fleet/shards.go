package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sync/errgroup"
)

// Shards is a fleet spread over child processes. Each reads its Config and then orders from its standard
// input, one JSON value a line, and answers each with one Report on its standard output.
type Shards struct {
	children []*child
}

type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	encoder *json.Encoder
	decoder *json.Decoder
}

// NewShards starts n children by running args, which must call Serve, and gives each its share of cfg.
func NewShards(cfg Config, n int, args ...string) (*Shards, error) {
	if len(args) == 0 {
		return nil, errors.New("shards: no command")
	}
	s := &Shards{}
	for i := range n {
		share := cfg
		share.Shard, share.Shards = i, n
		c, err := startChild(args, share)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("shard %d: %w", i, err), s.Close())
		}
		s.children = append(s.children, c)
	}
	return s, nil
}

func startChild(args []string, cfg Config) (*child, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = ownGroup() // Ctrl-C is for the first process: it ends the others
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, in: in, encoder: json.NewEncoder(in), decoder: json.NewDecoder(bufio.NewReader(out))}
	if err := c.encoder.Encode(cfg); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// Do gives o to every child and joins what they report.
func (s *Shards) Do(ctx context.Context, o Order) (Report, error) {
	reports := make([]Report, len(s.children))
	var group errgroup.Group
	for i, c := range s.children {
		group.Go(func() error {
			if err := c.encoder.Encode(o); err != nil {
				return fmt.Errorf("shard %d: %w", i, err)
			}
			if err := c.decoder.Decode(&reports[i]); err != nil {
				return fmt.Errorf("shard %d: %w", i, err)
			}
			if reports[i].Error != "" {
				return fmt.Errorf("shard %d: %s", i, reports[i].Error)
			}
			return nil
		})
	}
	err := group.Wait()
	var sum Report
	for _, r := range reports {
		sum.add(r)
	}
	return sum, errors.Join(err, context.Cause(ctx))
}

// PIDs are the children's process IDs.
func (s *Shards) PIDs() []int {
	var pids []int
	for _, c := range s.children {
		pids = append(pids, c.cmd.Process.Pid)
	}
	return pids
}

// Close ends the children: they go when their input does.
func (s *Shards) Close() error {
	var errs []error
	for _, c := range s.children {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

func (c *child) close() error {
	return errors.Join(c.in.Close(), c.cmd.Wait())
}

// Serve is a child's side: it returns when in ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	decoder, encoder := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	var cfg Config
	if err := decoder.Decode(&cfg); err != nil {
		return fmt.Errorf("shard: configuration: %w", err)
	}
	f, err := NewLocal(cfg)
	if err != nil {
		return errors.Join(err, encoder.Encode(Report{Error: err.Error()}))
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		var o Order
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("shard: order: %w", err)
		}
		r, err := f.Do(ctx, o)
		if err != nil {
			r.Error = err.Error()
		}
		if err := encoder.Encode(r); err != nil {
			return fmt.Errorf("shard: report: %w", err)
		}
	}
}
