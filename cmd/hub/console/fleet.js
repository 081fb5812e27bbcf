// Every hub, and how busy it is.
import alerts from './alerts.js'
import { action, acts, look, poll } from './api.js'
import { bytes, clock, count, entry, facts, field, h, link, name, say, span, spark, table } from './dom.js'

const remembered = 600_000 // ms
const known = new Map() // hub → its last answer, for as long as the page is open
const lines = new Map() // the last 60 values of each line
let silentBefore = ''

// note adds an answer to what is known. A hub that has left the fleet is remembered for a while.
function note({ nodes, silent }) {
  for (const last of nodes) known.set(last.node, { last, at: Date.now() })
  for (const [hub, k] of known) if (Date.now() - k.at > remembered) known.delete(hub)
  const now = silent.join(', ')
  if (now !== silentBefore) say(now ? 'Silent: ' + now : 'All hubs answer')
  silentBefore = now
}

// line adds a value to a line, and draws it.
function line(which, value) {
  const values = [...(lines.get(which) ?? []), value ?? 0].slice(-60)
  lines.set(which, values)
  return spark(values, 'lately')
}

const state = (kind, text) => h('span.state.' + kind, text)
const kindOf = (n) => n.state === 'ready' ? 'good' : n.state === 'draining' ? 'warn' : 'bad'
const bar = (part, whole, title = `${count(part)} of ${count(whole)}`) => whole ? h('meter', { min: 0, max: whole, low: whole * 0.8, high: whole * 0.9, optimum: 0, value: part, title }) : null

function row(n) {
  const r = n.rates ?? {}, m = n.memory ?? {}
  return {
    key: n.node,
    cells: [
      link('fleet', n.node),
      [state(kindOf(n), n.state), n.reason && h('small.why', n.reason)],
      [count(n.connections), bar(n.connections, n.max_connections)],
      [count(r.deliveries), line('of ' + n.node, r.deliveries)],
      count(r.messages),
      bytes(r.sent_bytes) + '/s',
      span(n.fanout_p99_ms),
      bytes(n.backlog_bytes),
      span(n.probe_age_ms),
      [bytes(m.rss_bytes ?? m.system_bytes), bar(m.heap_bytes, m.limit_bytes, `${bytes(m.heap_bytes)} of heap, and --memory-limit is ${bytes(m.limit_bytes)}`)],
      span(n.uptime_ms),
      h('span', { title: n.revision ?? '' }, n.version ?? '–'),
    ],
  }
}

// away is a hub that does not answer: silent if the list of hubs still has it, else gone, which is well for one that drained.
function away(hub, what) {
  const k = known.get(hub)
  const last = k ? 'last answer ' + clock(k.at) + ', with ' + count(k.last.connections) + ' connections' : 'no answer since this page is open'
  const drained = what === 'gone' && k.last.state === 'draining'
  return { key: hub, mark: drained ? 'gone' : 'silent', cells: [name(hub), [state(drained ? 'warn' : 'bad', what), h('small.why', last)], ...Array(10).fill('–')] }
}

function totals(nodes, hubs) {
  const sum = (of) => nodes.reduce((all, n) => all + (of(n) ?? 0), 0)
  const tile = (label, value) => h('div.tile', h('dt', label), h('dd', value))
  const drawn = (label, value) => tile(label, [count(value), line(label, value)])
  return h('dl.tiles',
    tile('hubs ready', `${nodes.filter((n) => n.state === 'ready').length} of ${hubs}`),
    drawn('connections', sum((n) => n.connections)),
    drawn('deliveries/s', sum((n) => n.rates?.deliveries)),
    drawn('messages/s', sum((n) => n.rates?.messages)),
    tile('sent/s', bytes(sum((n) => n.rates?.sent_bytes))),
    tile('waiting for slow readers', bytes(sum((n) => n.backlog_bytes))))
}

// rebalance sends a part of a hub's clients to the others.
function rebalance(hub) {
  const percent = h('input', { type: 'number', min: 1, max: 100, value: 20 }), over = entry({ value: '60s' })
  return h('details.card', { key: 'rebalance', 'data-keep': '' }, h('summary', 'Rebalance'),
    h('p.hint', 'Sends a part of this hub’s clients away, at an even pace. They come back within seconds, to the hub that the balancer chooses.'),
    h('div.form', field('Percent', percent), field('Over', over, 'as in 60s or 10m')),
    acts(action('Rebalance', {
      danger: true, path: '/api/rebalance', body: () => ({ node: hub, percent: Number(percent.value), over: over.value.trim() }),
      told: (a) => `Done. ${count(a.clients)} ${a.clients === 1 ? 'client was' : 'clients were'} chosen, to go one by one.`,
      sure: { title: 'Rebalance ' + hub + '?', text: () => `${percent.value} percent of the clients of ${hub} lose their connection, over ${over.value}.` },
    })))
}

const columns = ['Hub', 'State', '#Connections', '#Deliveries/s', '#Messages/s', '#Sent', '#Fan-out p99', '#Backlog', '#Probe age', '#Memory', '#Up', 'Version']

function one(n) {
  const r = n.rates ?? {}, m = n.memory ?? {}
  return h('section', { key: 'of ' + n.node }, h('h2', name(n.node)), facts([
    ['revision', n.revision], ['connections at most', n.max_connections && count(n.max_connections)], ['sockets', count(n.sockets)],
    ...Object.entries(n.sessions ?? {}).map(([protocol, v]) => ['sessions, ' + protocol, count(v)]),
    ['topics, once for each loop', count(n.topics)], ['subscriptions', count(n.subscriptions)],
    ['connects/s', count(r.connects)], ['closes/s', count(r.closes)], ['received', bytes(r.received_bytes) + '/s'],
    ['resident memory', m.rss_bytes && bytes(m.rss_bytes)], ['of the Go runtime', bytes(m.system_bytes)], ['memory limit', m.limit_bytes && bytes(m.limit_bytes)],
  ]), h('p.links', link('settings', undefined, 'its settings', { node: n.node }), ' ', link('reasons', undefined, 'its reasons', { node: n.node }), ' ', link('slow', undefined, 'its clients', { node: n.node })), rebalance(n.node))
}

export default function fleet(root, at) {
  root.append(h('h1', 'Fleet'))
  return poll(root, (signal) => look('/api/nodes', {}, signal), (answer) => {
    const { nodes, silent } = answer
    note(answer)
    const gone = [...known.keys()].filter((hub) => !silent.includes(hub) && !nodes.some((n) => n.node === hub))
    const chosen = nodes.find((n) => n.node === at.name)
    return [
      alerts(answer, gone.filter((hub) => known.get(hub).last.state !== 'draining')),
      totals(nodes, nodes.length + silent.length + gone.length),
      table('Hubs', columns, [...nodes.map(row), ...silent.map((hub) => away(hub, 'silent')), ...gone.map((hub) => away(hub, 'gone'))].sort((a, b) => a.key < b.key ? -1 : 1), 'No hub answers.'),
      chosen && one(chosen),
      at.name && !chosen && h('p.empty', 'No hub by that name answers.'),
    ]
  })
}
