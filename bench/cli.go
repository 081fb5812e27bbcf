package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"wshub/bench/baseline"
	"wshub/bench/fleet"
)

// Exit statuses.
const (
	exitOK          = 0
	exitFound       = 1   // measured, and the server did something wrong
	exitUsage       = 2   // flags or files that make no sense
	exitFailed      = 3   // not measured, or not to the end
	exitThreshold   = 4   // measured, nothing wrong, and a threshold failed
	exitInterrupted = 130 // what was measured so far is written
)

const description = `Load tester for wshub. It holds many WebSocket connections in one light process, publishes by a fixed schedule, and checks every single delivery.

Exit status: 0 measured and nothing wrong; 1 measured, but events were lost, repeated, reordered, foreign or corrupt, or connections were closed or failed (see --allow), or nothing was delivered; 2 bad flags; 3 not measured to the end; 4 measured and nothing wrong, but a threshold failed (see --fail-if); 130 interrupted, with what was measured so far written.`

type commands struct {
	Run      scenarios       `cmd:"" help:"Run a scenario, or a file of them: 'run FILE', one scenario a line with its flags, '#' for comments; flags after FILE hold for each."`
	Compare  compareCommand  `cmd:"" help:"Compare two reports side by side."`
	Tune     tuneCommand     `cmd:"" help:"Try numbers of pollers and workers on a hub that it starts."`
	Beside   besideCommand   `cmd:"" help:"Measure several servers in turn, and write a table of them side by side."`
	Baseline baselineCommand `cmd:"" help:"Serve like the hub, in the plainest way: what its figures are held against."`
	Shard    shardCommand    `cmd:"" hidden:"" help:"Hold a share of the clients; started by run --shards."`
}

// app is one invocation.
type app struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// Main carries out a command line, without the program's name, and returns the exit status. When ctx ends,
// it stops measuring and reports what it has.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{args: args, stdin: stdin, stdout: stdout, stderr: stderr}
	status, err := a.run(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "hubbench:", mask(err.Error())) // the exit status tells it too
	}
	return status
}

func (a *app) run(ctx context.Context) (int, error) {
	if lines, err := a.scenarioFile(); err != nil {
		return exitUsage, err
	} else if lines != nil {
		return a.runFile(ctx, lines)
	}
	_, parsed, status, err := a.parse(a.args)
	if parsed == nil {
		return status, err
	}
	if c, ok := parsed.Target().(command); ok {
		return c.run(ctx, a)
	}
	return a.measure(ctx, []scenario{parsed.Target().(scenario)})
}

// command is a subcommand other than a scenario.
type command interface {
	run(context.Context, *app) (int, error)
}

// selected is the command that a command line names.
type selected struct{ node *kong.Node }

// Target is a scenario, or one of the commands' structs.
func (s *selected) Target() any { return s.node.Target.Addr().Interface() }

// parse returns nil for selected when there is nothing to run: after --help, or with an error.
func (a *app) parse(args []string) (*commands, *selected, int, error) {
	var c commands
	helped := false
	parser, err := kong.New(&c,
		kong.Name("hubbench"), kong.Description(description),
		kong.Writers(a.stdout, a.stderr), kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{{Key: "Server", Title: "Server"}, {Key: "Clients", Title: "Clients"}, {Key: "Load", Title: "Load"}, {Key: "Publishing", Title: "Publishing"}, {Key: "Result", Title: "Result"}}),
		kong.Vars{
			"protocols": strings.Join(fleet.ProtocolNames(), ","), "findings": strings.Join(findings, ", "), "figures": figureList(),
			"rate": "100", "duration": "10s",
		},
	)
	if err != nil {
		return nil, nil, exitFailed, err
	}
	parsed, err := parser.Parse(args)
	if helped {
		return nil, nil, exitOK, nil
	}
	if err != nil {
		return nil, nil, exitUsage, fmt.Errorf("%w (see hubbench --help)", err)
	}
	return &c, &selected{parsed.Selected()}, exitOK, nil
}

// scenarioFile reads the file that the command line names in place of a scenario; nil if it names none.
func (a *app) scenarioFile() ([][]string, error) {
	if len(a.args) < 2 || a.args[0] != "run" || strings.HasPrefix(a.args[1], "-") {
		return nil, nil
	}
	info, err := os.Stat(a.args[1])
	if err != nil && strings.ContainsAny(a.args[1], "./") { // no scenario's name
		return nil, fmt.Errorf("no scenario has that name, and as a file: %w", err)
	}
	if err != nil || info.IsDir() {
		return nil, nil // then it is the name of a scenario, or a mistake that the parser tells
	}
	text, err := os.ReadFile(a.args[1])
	if err != nil {
		return nil, err
	}
	lines, err := parseScenarios(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.args[1], err)
	}
	return lines, nil
}

func (a *app) runFile(ctx context.Context, lines [][]string) (int, error) {
	var all []scenario
	for i, words := range lines {
		args := append(append([]string{"run"}, words...), a.args[2:]...)
		_, parsed, status, err := a.parse(args)
		if parsed == nil {
			if err != nil {
				err = fmt.Errorf("%s, scenario %d: %w", a.args[1], i+1, err)
			}
			return status, err
		}
		s, ok := parsed.Target().(scenario)
		if !ok {
			return exitUsage, fmt.Errorf("%s, scenario %d: not a scenario", a.args[1], i+1)
		}
		all = append(all, s)
	}
	return a.measure(ctx, all)
}

type shardCommand struct{}

func (*shardCommand) run(ctx context.Context, a *app) (int, error) {
	makeRoom(0)
	if err := fleet.Serve(ctx, a.stdin, a.stdout); err != nil {
		return exitFailed, err
	}
	return exitOK, nil
}

type baselineCommand struct {
	Kind      string `arg:"" help:"floor: one thread, one raw write per delivery; goroutines: one goroutine per connection." enum:"floor,goroutines"`
	Addr      string `help:"Address to listen on." default:"127.0.0.1:3100"`
	Redis     string `help:"Redis that events come from." default:"redis://127.0.0.1:6379" env:"REDIS_URL"`
	Broadcast string `help:"Topic of clients that name none." default:"channel"`
	Heartbeat string `help:"Time between two pings to a client." default:"25s"`
}

func (c *baselineCommand) run(ctx context.Context, a *app) (int, error) {
	cfg, err := baseline.NewConfig(c.Addr, c.Redis, c.Broadcast, c.Heartbeat)
	if err != nil {
		return exitUsage, err
	}
	serve := baseline.Floor
	if c.Kind == "goroutines" {
		serve = baseline.Goroutines
	}
	openFiles() // raises the limit

	_, _ = fmt.Fprintf(a.stderr, "%s: clients come to ws://%s\n", c.Kind, c.Addr) // for a person, who may not be there
	if err := serve(ctx, cfg); err != nil && !errors.Is(err, context.Canceled) {
		return exitFailed, err
	}
	return exitOK, nil
}
