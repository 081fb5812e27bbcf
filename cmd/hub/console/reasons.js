// Why clients were refused, cut, or lost something.
import { look, poll } from './api.js'
import { count, entry, field, form, h, link, name, route, table, when } from './dom.js'

// shares names those with most, as in hub-b 20 · hub-a 3.
const shares = (pairs) => pairs.sort((a, b) => b[1] - a[1]).slice(0, 3).map(([who, v]) => `${who} ${count(v)}`).join(' · ') + (pairs.length > 3 ? ' …' : '')

// rules sums up reasons: which hubs and users have most of each rule.
function rules(reasons) {
  const all = new Map()
  for (const r of reasons) {
    const rule = r.kind + ' ' + r.rule
    const c = all.get(rule) ?? { ...r, count: 0, hubs: {}, users: {} }
    const n = 1 + (r.others ?? 0)
    c.count += n
    c.hubs[r.node] = (c.hubs[r.node] ?? 0) + n
    if (r.user) c.users[r.user] = (c.users[r.user] ?? 0) + n
    all.set(rule, c)
  }
  return [...all].sort(([, a], [, b]) => b.count - a.count).map(([key, c]) => ({
    key, cells: [c.kind, h('code', c.rule), count(c.count), shares(Object.entries(c.hubs)), name(shares(Object.entries(c.users)) || '–'), [when(c.time), c.remedy && h('small.why', c.remedy)]],
  }))
}

// counts is a table of causes, those of the last minute first.
function counts(title, nodes, member, empty) {
  const all = new Map()
  for (const n of nodes) {
    for (const [cause, v] of Object.entries(n[member] ?? {})) {
      const c = all.get(cause) ?? { total: 0, lately: 0, hubs: [] }
      c.hubs.push([n.node, v])
      c.total += v
      c.lately += n[member + '_lately']?.[cause] ?? 0
      all.set(cause, c)
    }
  }
  const rows = [...all].sort(([a, x], [b, y]) => y.lately - x.lately || y.total - x.total || (a < b ? -1 : 1))
  return h('section', h('h2', title), table(title, ['Cause', '#Last minute', '#Since start'], rows.map(([cause, c]) => ({ key: cause, cells: [[h('code', cause), nodes.length > 1 && h('small.why', shares(c.hubs))], c.lately ? h('strong', count(c.lately)) : '0', count(c.total)] })), empty))
}

export default function reasons(root, at) {
  const kinds = h('select', ['', 'handshake', 'token', 'topic', 'cut', 'drop'].map((k) => h('option', { value: k }, k || 'all')))
  const user = entry({ type: 'search', value: at.query.user ?? '' })
  const text = entry({ oninput: () => stop.redraw() })
  kinds.value = at.query.kind ?? ''
  const go = () => { location.hash = route('reasons', undefined, { user: user.value.trim(), kind: kinds.value, node: at.query.node }) }
  kinds.onchange = go
  root.append(h('h1', 'Reasons'), form('form.search', go, field('Kind', kinds), field('User', user), field('Text', text), h('button.primary', 'Filter')))
  if (at.query.node) root.append(h('p.hint', `Of ${at.query.node} only. `, link('reasons', undefined, 'All hubs')))
  const stop = poll(root, (signal) => look('/api/reasons', at.query, signal), (a) => {
    const has = (r) => Object.values(r).join(' ').toLowerCase().includes(text.value.toLowerCase())
    const shown = a.reasons.filter(has)
    return [
      h('div.columns',
        counts('Closed connections', a.nodes, 'closed', 'No connection ended yet.'),
        counts('Refused handshakes', a.nodes, 'refused', 'No handshake was refused.'),
        counts('Dropped', a.nodes, 'dropped', 'Nothing was dropped.')),
      h('h2', 'By rule'),
      table('Rules', ['Kind', 'Rule', '#Times', 'Most on', 'Most of', 'Last'], rules(shown), 'There is no reason that fits.'),
      h('h2', 'The last reasons'),
      table('Reasons', ['Time', 'Hub', 'Kind', 'Rule', 'User', 'Address', 'Reason'], shown.map((r, i) => ({
        key: [r.node, r.time, r.rule, r.session, i].join(' '),
        cells: [when(r.time), link('fleet', r.node), r.kind, h('code', r.rule), link('user', r.user), h('code', r.addr ?? '–'),
          [name(r.text), r.topic && [' ', link('topic', r.topic)], r.remedy && h('small.why', r.remedy), r.others > 0 && h('small.why', `and ${count(r.others)} more alike`)]],
      })), a.reasons.length ? 'None fits the text.' : 'The hubs remember no reason that fits.'),
    ]
  }, 4000)
  return stop
}
