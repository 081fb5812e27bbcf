// What is wrong with the fleet, in a few lines at its head. Each leads to the view that says more.
import { count, h, link, name, span } from './dom.js'

const full = 0.9 // of a limit
const oldProbe = 10_000 // ms
const much = 1 << 20 // bytes that wait
const some = 3 // times in a minute: one client that tries once is no news

const sum = (counts) => Object.values(counts ?? {}).reduce((a, b) => a + b, 0)
const joined = (list) => list.slice(0, 4).map((one, i) => [i ? ', ' : '', one]).concat(list.length > 4 ? ` and ${list.length - 4} more` : [])

// each names the hubs that fit, with what of says of each.
const each = (nodes, of) => joined(nodes.map((n) => [link('fleet', n.node), of ? ` (${of(n)})` : '']))

const tokens = (n) => (n.lately?.closed.bad_token ?? 0) + (n.lately?.closed.token_expired ?? 0)

// causes adds up causes, and names them, the most frequent first.
function causes(nodes, member) {
  const all = {}
  for (const n of nodes) for (const [cause, v] of Object.entries(n.lately?.[member] ?? {})) all[cause] = (all[cause] ?? 0) + v
  return joined(Object.entries(all).sort((a, b) => b[1] - a[1]).map(([cause, v]) => `${cause} ${count(v)}`))
}

// apart is the hubs of which of says other things than of most; null where all are alike.
function apart(nodes, of) {
  const groups = Map.groupBy(nodes, of)
  const lists = [...groups.values()].sort((a, b) => b.length - a.length)
  return groups.size < 2 ? null : lists.filter((l) => l !== lists[0] || l.length * 2 <= nodes.length).flat()
}

// settled hubs have filled: the rates of others mean nothing.
const settled = (n) => n.uptime_ms > 120_000

// alerts is a list of what is wrong, the worst first, and null if all is well.
export default function alerts({ nodes, silent }, gone) {
  const list = []
  const tell = (kind, title, text, ...links) => list.push(h('li', { key: title }, h('strong.state.' + kind, title), ' ', text, links.map((l) => [' · ', l])))
  const where = (fits, then) => { const fitting = nodes.filter(fits); if (fitting.length) then(fitting) }
  const away = [...silent, ...gone]
  if (away.length) tell('bad', 'No answer', [joined(away.map(name)), ': it is frozen, has ended, or it and Redis don’t reach each other. Its clients may be connected still. Open its own console, or its log.'])
  where((n) => n.state === 'not ready', (bad) => tell('bad', 'Not ready', each(bad, (n) => n.reason || 'no reason')))
  where((n) => n.probe_age_ms > oldProbe, (bad) => tell('bad', 'Redis is slow to answer', each(bad, (n) => span(n.probe_age_ms))))
  where((n) => n.max_connections && n.connections >= n.max_connections * full, (bad) => tell('warn', 'Near --max-connections', each(bad, (n) => `${count(n.connections)} of ${count(n.max_connections)}`), link('settings', undefined, 'settings', { find: 'max-connections' })))
  where((n) => n.memory?.limit_bytes && n.memory.heap_bytes >= n.memory.limit_bytes * full, (bad) => tell('warn', 'Near the memory limit', each(bad, (n) => count(n.memory.heap_bytes / n.memory.limit_bytes * 100) + ' %')))
  where((n) => sum(n.lately?.refused) >= some, (bad) => tell('warn', 'Handshakes refused', ['lately: ', causes(bad, 'refused'), ', by ', each(bad, (n) => count(sum(n.lately.refused)))], link('reasons', undefined, 'reasons', { kind: 'handshake' })))
  where((n) => tokens(n) >= some, (bad) => tell('warn', 'Tokens refused', ['lately by ', each(bad, (n) => count(tokens(n)))], link('reasons', undefined, 'reasons', { kind: 'token' })))
  where((n) => sum(n.lately?.errors) >= some * 3, (bad) => tell('warn', 'Requests refused', ['lately: ', causes(bad, 'errors'), ', by ', each(bad, (n) => count(sum(n.lately.errors))), bad.some((n) => n.lately.errors.bad_request) && '. What is wrong with a bad_request its client alone is told'], link('reasons', undefined, 'reasons', { kind: 'topic' })))
  where((n) => n.lately?.closed.slow_consumer > 0 || n.backlog_bytes > much, (bad) => tell('warn', 'Slow consumers', each(bad, (n) => `${count(n.lately?.closed.slow_consumer ?? 0)} cut lately`), link('slow', undefined, 'now'), link('reasons', undefined, 'those cut', { kind: 'cut' })))
  where((n) => sum(n.lately?.dropped) >= some, (bad) => tell('warn', 'Dropped', ['lately: ', causes(bad, 'dropped'), ', by ', each(bad, (n) => count(sum(n.lately.dropped)))], link('reasons', undefined, 'reasons', { kind: 'drop' })))
  where((n) => settled(n) && n.rates.closes > 1 && n.rates.closes * 60 > n.connections / 2, (bad) => tell('warn', 'Clients come and go', each(bad, (n) => `${count(n.rates.closes)} a second`), link('slow', undefined, 'who')))
  where((n) => n.state === 'draining', (bad) => tell('warn', 'Draining', each(bad, (n) => count(n.connections) + ' connections left')))
  const versions = apart(nodes, (n) => n.version + ' ' + (n.revision ?? '')), settings = apart(nodes, (n) => n.settings)
  if (versions) tell('warn', 'Versions differ', each(versions, (n) => n.version))
  if (settings) tell('warn', 'Settings differ', each(settings), link('settings', undefined, 'where', { differ: '1' }))
  return list.length ? h('ul.alerts', { key: 'alerts', role: 'list', 'aria-label': 'Needs a look' }, list) : null
}
