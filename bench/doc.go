// Package bench is hubbench: it loads a WebSocket hub from outside and judges what arrives. It shares no
// code with the hub, only the JSON field names of its protocol.
//
//	cli.go, settings.go     flags → a scenario         words.go: scenario files
//	measure.go              runs it, writes the report, chooses the exit status
//	idle.go … soak.go       the scenarios, one a file
//	trial.go                one run under way: clients, points in time, the server's processes
//	phases.go, load.go, call.go  parts of scenarios
//	driver.go, publisher.go the schedule of events, and the ways to publish them
//	servers.go              memory and CPU, from /proc
//	result.go, metrics.go   the content of a report (REPORT.md), and the one list of its figures
//	verdict.go, threshold.go    the outcome, as a sentence and as an exit status
//	compare.go, worse.go        two reports side by side
//	table.go, progress.go       the terminal            html.go, chart.go, svg.go: the page
//	secrets.go, hint.go         masks of secrets, and advice for usual mistakes
//	interrupt.go, orphan_*.go   no server stays behind
//	tune.go
//
// Below it stand packages that know less: fleet holds the clients and checks every message, wire is RFC
// 6455 as a client needs it, probe defines the events, baseline has servers to compare the hub with.
//
// Four rules make the figures worth something:
//
//   - A schedule says when events are due (fleet.Pace), and nothing that the server does moves it. Latency
//     counts from that time: events that a stalled server holds up count as late and are not left out.
//   - Every delivery is judged and recorded, none is sampled.
//   - hubbench reports whether it was itself the limit (limit.go), and the other load of the machine.
//   - A comparison claims nothing that lies within the runs' own spread.
package bench
