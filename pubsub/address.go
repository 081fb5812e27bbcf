package pubsub

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Kind is how the server that serves a partition is found.
type Kind uint8

const (
	Single   Kind = iota // one server serves all
	Sentinel             // sentinels know the one that is master
	Cluster              // its nodes know who serves which slot
)

// Address is a REDIS_URL, read. It is one of
//
//	redis://[user:password@]host[:port][/db]
//	unix://[user:password@]/path[?db=N]
//	redis+sentinel://[user:password@]host[:port][,host[:port]…]/master-name[/db][?sentinel_user=…&sentinel_password=…]
//	redis+cluster://[user:password@]host[:port][,host[:port]…]
//
// or rediss in place of redis, for TLS.
type Address struct {
	Kind    Kind
	Network string // "tcp" or "unix"
	// Hosts are host:port, or the socket's path; of Sentinel the sentinels, of Cluster some of its nodes. At least one.
	Hosts  []string
	Master string // the name that the sentinels know the master by
	// User is the one who logs in at servers, "" the default user; without a Password nobody does. A User has a Password.
	User, Password string
	// SentinelUser is the one who logs in at sentinels, in the same way.
	SentinelUser, SentinelPassword string
	DB                             int
	TLS                            bool // to sentinels, too
}

// schemes are what an Address of each scheme begins as.
var schemes = map[string]Address{
	"redis":           {Kind: Single, Network: "tcp"},
	"rediss":          {Kind: Single, Network: "tcp", TLS: true},
	"unix":            {Kind: Single, Network: "unix"},
	"redis+sentinel":  {Kind: Sentinel, Network: "tcp"},
	"rediss+sentinel": {Kind: Sentinel, Network: "tcp", TLS: true},
	"redis+cluster":   {Kind: Cluster, Network: "tcp"},
	"rediss+cluster":  {Kind: Cluster, Network: "tcp", TLS: true},
}

// The faults of a URL. None repeats a part of it.
var (
	errScheme     = errors.New("want redis://, unix://, redis+sentinel:// or redis+cluster://, or rediss for TLS in place of redis")
	errBlank      = errors.New("it holds a blank or a control character: in a password a blank is written %20")
	errFragment   = errors.New("it holds a #, which begins a fragment, and no form has one: in a password a # is written %23")
	errTorn       = errors.New("an @ stands behind a / or a ?: in a password a / is written %2F and a ? %3F, anywhere else an @ is %40")
	errSpecial    = errors.New("a special character before the @ must be written %XX")
	errPercent    = errors.New("a % must be followed by two hexadecimal digits: a % itself is written %25")
	errSeveralAts = errors.New("several @ stand before the hosts: user and password stand once, before the first host, and an @ in a password is written %40")
	errNoPassword = errors.New("a name without a password stands before the @: want user:password@, or :password@ for the default user")

	errHost      = errors.New("a host is missing, or has a character that no host name has")
	errColons    = errors.New("a host has several colons: an IPv6 address stands in brackets, as in [::1]:6379")
	errBrackets  = errors.New("brackets must hold an IPv6 address and nothing but a port may follow, as in [::1]:6379")
	errPort      = errors.New("the port must be a number from 1 to 65535")
	errHostList  = errors.New("one server has one host: for several want redis+sentinel:// or redis+cluster://")
	errDatabase  = errors.New("the database must be a number from 0 to 999999999, as in redis://host:6379/1")
	errClusterDB = errors.New("a cluster has no databases: nothing may stand behind its hosts")
	errMaster    = errors.New("the master's name is missing, or holds more than letters, digits, \".\", \"-\" and \"_\": want redis+sentinel://host:26379/master-name")
	errSocket    = errors.New("unix:// needs an absolute path without control characters, so three slashes, as in unix:///run/redis.sock")

	errValue          = errors.New("an option has no value, or a special character in it must be written %XX")
	errSentinelOption = errors.New("sentinel_user and sentinel_password belong to redis+sentinel:// only")
	errSentinelUser   = errors.New("sentinel_user needs a sentinel_password")
)

// UnknownOption is the error of a URL with an option that is none. Name is it if it looks like an option, else "".
type UnknownOption struct{ Name string }

func (e *UnknownOption) Error() string {
	if e.Name == "" {
		return "the query holds an unknown option"
	}
	return fmt.Sprintf("the option %q is unknown", e.Name)
}

// ParseAddress reads raw. Its errors name the rule that raw breaks and nothing of raw, which may hold a password,
// but for an option's name.
func ParseAddress(raw string) (Address, error) {
	scheme, rest, _ := strings.Cut(raw, "://")
	a, known := schemes[strings.ToLower(scheme)]
	switch {
	case strings.ContainsFunc(raw, isBlank):
		return Address{}, errBlank
	case strings.Contains(raw, "#"):
		return Address{}, errFragment
	case !known:
		return Address{}, errScheme
	}
	tail := ""
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		rest, tail = rest[:end], rest[end:]
	}
	if strings.Contains(tail, "@") {
		return Address{}, errTorn
	}
	path, query, _ := strings.Cut(tail, "?")
	login, hosts, isLogin := "", rest, false
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		login, hosts, isLogin = rest[:at], rest[at+1:], true
	}
	err := a.readHosts(hosts)
	if err == nil && isLogin {
		err = a.readLogin(login)
	}
	if err == nil {
		err = a.readPath(path)
	}
	if err == nil {
		err = a.readOptions(query)
	}
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

func isBlank(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// readLogin reads what stands before the @.
func (a *Address) readLogin(text string) (err error) {
	switch user, password, _ := strings.Cut(text, ":"); {
	case a.Kind != Single && strings.Contains(text, "@"): // most likely each host has its own
		return errSeveralAts
	case strings.ContainsFunc(text, func(r rune) bool { return !isPlain(r) && !strings.ContainsRune(":@+;&=%", r) }):
		return errSpecial
	case text != ":" && password == "":
		return errNoPassword
	default:
		if a.User, err = url.PathUnescape(user); err == nil {
			a.Password, err = url.PathUnescape(password)
		}
		if err != nil {
			return errPercent
		}
		return nil
	}
}

// isPlain reports whether r means nothing but itself wherever it stands in a URL (RFC 3986).
func isPlain(r rune) bool {
	return isLetter(r) || isDigit(r) || strings.ContainsRune("-._~!$'()*,", r)
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// isName reports whether text is of letters, digits, ".", "-" and "_", and not empty.
func isName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !isLetter(r) && !isDigit(r) && !strings.ContainsRune(".-_", r) })
}

// readHosts reads what stands between "//" or "@" and the path.
func (a *Address) readHosts(text string) error {
	if a.Network == "unix" {
		if text != "" {
			return errSocket
		}
		return nil
	}
	hosts := strings.Split(text, ",")
	if a.Kind == Single {
		if len(hosts) > 1 {
			return errHostList
		}
		if text == "" || text[0] == ':' {
			hosts[0] = "localhost" + text
		}
	}
	port := "6379"
	if a.Kind == Sentinel {
		port = "26379"
	}
	for _, host := range hosts {
		host, err := parseHost(host, port)
		if err != nil {
			return err
		}
		a.Hosts = append(a.Hosts, host)
	}
	return nil
}

// parseHost makes of host[:port] a host:port.
func parseHost(text, port string) (string, error) {
	host, rest := text, ""
	if inner, behind, isIP := strings.Cut(strings.TrimPrefix(text, "["), "]"); strings.HasPrefix(text, "[") {
		inner = strings.Replace(inner, "%25", "%", 1) // a zone, as in [fe80::1%25eth0] (RFC 6874)
		ip, err := netip.ParseAddr(inner)
		_, zone, zoned := strings.Cut(inner, "%")
		if !isIP || err != nil || !ip.Is6() || zoned && !isName(zone) || behind != "" && behind[0] != ':' {
			return "", errBrackets
		}
		host, rest = inner, behind
	} else if colon := strings.IndexByte(text, ':'); colon >= 0 {
		host, rest = text[:colon], text[colon:]
	}
	switch {
	case strings.Count(rest, ":") > 1:
		return "", errColons
	case !strings.HasPrefix(text, "[") && !isName(host):
		return "", errHost
	case rest != "":
		n, err := strconv.ParseUint(rest[1:], 10, 16)
		if err != nil || n == 0 {
			return "", errPort
		}
		port = strconv.FormatUint(n, 10)
	}
	return net.JoinHostPort(host, port), nil
}

// readPath reads what stands between the hosts and the query.
func (a *Address) readPath(path string) (err error) {
	if a.Network == "unix" {
		socket, err := url.PathUnescape(path)
		switch {
		case err != nil:
			return errPercent
		case len(socket) < 2 || strings.ContainsFunc(socket, unicode.IsControl):
			return errSocket
		}
		a.Hosts = []string{socket}
		return nil
	}
	path = strings.TrimPrefix(path, "/")
	switch a.Kind {
	case Cluster:
		if path != "" {
			return errClusterDB
		}
		return nil
	case Sentinel:
		master, db, numbered := strings.Cut(path, "/")
		// A number alone is a database whose master was forgotten.
		if !isName(master) || !numbered && !strings.ContainsFunc(master, func(r rune) bool { return !isDigit(r) }) {
			return errMaster
		}
		a.Master, path = master, db
	}
	if path != "" {
		a.DB, err = parseDB(path)
	}
	return err
}

func parseDB(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || len(text) > 9 || strings.ContainsAny(text, "+-") {
		return 0, errDatabase
	}
	return n, nil
}

// sentinelOptions are the ones of redis+sentinel://.
var sentinelOptions = []string{"sentinel_user", "sentinel_password"}

// readOptions reads the query.
func (a *Address) readOptions(query string) error {
	if query == "" {
		return nil
	}
	given := make(map[string]bool)
	for part := range strings.SplitSeq(query, "&") {
		name, text, isPair := strings.Cut(part, "=")
		value, err := url.PathUnescape(text)
		switch known := slices.Contains(a.options(), name); {
		case given[name]:
			return fmt.Errorf("the option %q is given twice", name)
		case !known && slices.Contains(sentinelOptions, name):
			return errSentinelOption
		case !known && len(given) > 0: // It may be a part of a password that holds a &.
			return &UnknownOption{}
		case !known:
			return unknownOption(name, query)
		case err != nil:
			return errPercent
		case !isPair || text == "" || strings.ContainsFunc(text, func(r rune) bool { return !isPlain(r) && !strings.ContainsRune(":/?=%", r) }):
			return errValue
		}
		given[name] = true
		if err := a.set(name, value); err != nil {
			return err
		}
	}
	if a.SentinelUser != "" && a.SentinelPassword == "" {
		return errSentinelUser
	}
	return nil
}

// options are the ones of a's form.
func (a *Address) options() []string {
	switch {
	case a.Kind == Sentinel:
		return sentinelOptions
	case a.Network == "unix":
		return []string{"db"}
	}
	return nil
}

func (a *Address) set(option, value string) (err error) {
	switch option {
	case "sentinel_user":
		a.SentinelUser = value
	case "sentinel_password":
		a.SentinelPassword = value
	default:
		a.DB, err = parseDB(value)
	}
	return err
}

var optionName = regexp.MustCompile(`^[a-z_]{1,32}$`)

// unknownOption names name if all of query looks like options: else it may be what stands behind a ? in a password.
func unknownOption(name, query string) error {
	for part := range strings.SplitSeq(query, "&") {
		if one, _, isPair := strings.Cut(part, "="); !isPair || !optionName.MatchString(one) {
			return &UnknownOption{}
		}
	}
	return &UnknownOption{name}
}

// String is a URL of a with each password masked. Default ports are written.
func (a Address) String() string {
	const mask = "xxxxx"
	var b strings.Builder
	for scheme, form := range schemes {
		if form.Kind == a.Kind && form.Network == a.Network && form.TLS == a.TLS {
			b.WriteString(scheme + "://")
		}
	}
	if a.Password != "" {
		b.WriteString(url.UserPassword(a.User, mask).String() + "@")
	}
	hosts := strings.Join(a.Hosts, ",")
	switch {
	case a.Network == "unix":
		socket := url.URL{Path: hosts}
		b.WriteString(strings.ReplaceAll(socket.EscapedPath(), "@", "%40"))
		if a.DB != 0 {
			fmt.Fprintf(&b, "?db=%d", a.DB)
		}
		return b.String()
	default:
		b.WriteString(strings.ReplaceAll(hosts, "%", "%25"))
	}
	switch {
	case a.Kind == Sentinel:
		fmt.Fprintf(&b, "/%s/%d", a.Master, a.DB)
	case a.DB != 0:
		fmt.Fprintf(&b, "/%d", a.DB)
	}
	if a.SentinelPassword != "" {
		b.WriteByte('?')
		if a.SentinelUser != "" {
			b.WriteString("sentinel_user=" + strings.ReplaceAll(url.QueryEscape(a.SentinelUser), "+", "%20") + "&")
		}
		b.WriteString("sentinel_password=" + mask)
	}
	return b.String()
}
