package main

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// settings is what parse made of the command line and the environment.
type settings struct {
	cfg     *config
	flags   []*kong.Flag
	command string            // run, check, healthcheck, token mint, token verify, version, completion or help
	line    *commandLine      // has the commands' own flags
	done    bool              // --help or --version was printed: nothing is left to do
	source  map[string]string // of a flag that was given: "flag", or the variable and where it stands
	follows map[string]string // of a flag that was not given and is no default: what it follows
	env     environment

	again func() (*settings, error) // reads the same command line, and the variables and files as they are by then
}

// commandLine is what kong reads: the settings, which may stand anywhere, and the commands.
type commandLine struct {
	config
	EnvFile     string           `placeholder:"FILE" xor:"env-file" help:"File of variables, read instead of .env in the working directory. [$HUB_ENV_FILE; off: none]"`
	NoEnvFile   bool             `xor:"env-file" help:"Read no file of variables."`
	ShowVersion kong.VersionFlag `name:"version" help:"Print the version."`

	Run   struct{} `cmd:"" default:"1" help:"Run the hub (the default)."`
	Check struct {
		Connect bool `help:"Also try whether the hub can use Redis."`
	} `cmd:"" help:"Check the settings and print their values and sources, secrets masked."`
	Healthcheck struct {
		Ready bool `help:"Ask whether clients should be sent to it (/readyz), not only whether it lives (/livez)."`
	} `cmd:"" help:"Ask the hub on this machine with these settings, at its control port, how it is; exit with 1 if that is not well."`
	Token struct {
		Mint   mintFlags   `cmd:"" default:"withargs" help:"Print a token for development, signed with --jwt-secret or else with the private key in --jwt-key (the default of hub token)."`
		Verify verifyFlags `cmd:"" help:"Explain whether a hub with these settings accepts a token: the rights that it gives, or the rules that it breaks."`
	} `cmd:"" help:"Print a token for development, or verify one."`
	Version    struct{} `cmd:"" help:"Print the version."`
	Completion struct {
		Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
	} `cmd:"" help:"Print the line that makes a shell complete commands and flags."`
	Help struct {
		Command []string `arg:"" optional:"" help:"Command to print the help of."`
	} `cmd:"" help:"Print this, or a command's help."`
}

// parse reads args and, for flags that they leave out, the environment. It checks form, not ranges.
func parse(args []string, stdout, stderr io.Writer, env environment) (*settings, error) {
	line := &commandLine{}
	s := &settings{line: line, source: make(map[string]string), follows: make(map[string]string), env: env}
	s.again = func() (*settings, error) { return parse(args, io.Discard, io.Discard, env) }
	k, err := newParser(line, stdout, stderr, s)
	if err != nil {
		return nil, err
	}
	s.cfg, s.flags = &line.config, k.Model.Flags
	if env.vars["COMP_LINE"] != "" && complete(k) {
		s.done = true
		return s, nil
	}
	ctx, err := k.Parse(args)
	switch {
	case s.done:
		return s, nil
	case err != nil:
		return nil, usageError{s.named(err)}
	}
	for _, step := range ctx.Path {
		if step.Flag != nil && !step.Resolved {
			s.source[step.Flag.Name] = "flag"
		}
	}
	for _, f := range s.flags {
		trimFlag(f)
	}
	s.cfg.fill()
	s.cfg.clean = newRedactor(s.cfg.secrets()...)
	s.fit()
	s.command, _, _ = strings.Cut(ctx.Command(), " <") // without arguments
	return s, nil
}

// trimFlag takes blanks and line ends away around f's values, and values that are nothing else. Several secrets stand
// one a line: they are never split at commas, which a passphrase may hold.
func trimFlag(f *kong.Flag) {
	switch v := f.Target.Interface().(type) {
	case string:
		f.Target.SetString(trimmed(v))
	case []string:
		if f.Tag.Get("secret") != "" {
			v = strings.Split(strings.Join(v, "\n"), "\n")
		}
		var kept []string
		for _, one := range v {
			if one = trimmed(one); one != "" {
				kept = append(kept, one)
			}
		}
		f.Target.Set(reflect.ValueOf(kept))
	}
}

func newParser(line *commandLine, stdout, stderr io.Writer, s *settings) (*kong.Kong, error) {
	return kong.New(line,
		kong.Name("hub"),
		kong.Description("A WebSocket event hub. Every setting is a flag or a variable, of the environment or of a file .env in the working directory. The flag wins, then the environment. An empty variable counts as none."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { s.done = true }),
		kong.ValueFormatter(helpText),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.Vars{"version": readVersion().String()},
		kong.WithBeforeResolve(s.readEnvFile),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
			value, from, err := s.env.setting(f)
			if value == "" || err != nil {
				return nil, err
			}
			s.source[f.Name] = from
			return value, nil
		})),
	)
}

// envNames are the variables that set f, the first one that is set wins. kong's own support for them puts
// values into error messages, secrets too.
func envNames(f *kong.Flag) []string {
	if f.Group == nil { // --help, --env-file: asked for, not set
		return nil
	}
	names := []string{"HUB_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))}
	return append(names, f.Tag.GetAll("also")...)
}

// helpText is a setting's entry in --help.
func helpText(v *kong.Value) string {
	if v.Flag == nil || v.Flag.Group == nil {
		return v.Help
	}
	parts := []string{v.Help}
	if a := accepts(v.Flag); a != "" {
		parts = append(parts, a+".")
	}
	return strings.Join(append(parts, "[$"+strings.Join(envNames(v.Flag), ", $")+"]"), " ")
}

// accepts says in words which values f's tags let in, "" where they say nothing.
func accepts(f *kong.Flag) string {
	var words []string
	if f.IsBool() {
		words = append(words, "true, false")
	}
	if f.Enum != "" {
		words = append(words, strings.ReplaceAll(f.Enum, ",", ", "))
	}
	if low, high, ok := strings.Cut(f.Tag.Get("range"), ".."); ok {
		words = append(words, low+" to "+high)
	}
	if zero := f.Tag.Get("zero"); zero != "" {
		words = append(words, "0: "+zero)
	}
	return strings.Join(words, "; ")
}

var flagName = regexp.MustCompile(`--([a-z-]+)`)

// named adds to err the variable from which the setting came that err is about.
func (s *settings) named(err error) error {
	if m := flagName.FindStringSubmatch(err.Error()); m != nil {
		if from := s.source[m[1]]; from != "" && from != "flag" {
			return fmt.Errorf("%w (from %s)", err, from)
		}
	}
	return err
}

// origin names a flag, and the variable if its value came from one.
func (s *settings) origin(flag string) string {
	if from := s.source[flag]; from != "" && from != "flag" {
		return "--" + flag + " (" + from + ")"
	}
	return "--" + flag
}

// value returns what f is set to, as it would be written; secrets masked.
func (s *settings) value(f *kong.Flag) string {
	v := reflect.ValueOf(f.Target.Interface())
	list, isList := v.Interface().([]string)
	switch secret := f.Tag.Get("secret"); {
	case secret == "url":
		return maskURL(v.String())
	case secret == "urls":
		return maskURLs(list)
	case secret == "hooks":
		return maskHooks(list)
	case secret == "redis":
		return maskRedis(v.String())
	case secret != "":
		return strings.Join(slices.Repeat([]string{masked}, len(list)), ",")
	case isList:
		return strings.Join(list, string(f.Tag.Sep))
	}
	return fmt.Sprint(v.Interface())
}
