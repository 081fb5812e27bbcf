// Why clients were refused, cut, or lost something.
import { look, poll } from './api.js'
import { count, entry, field, form, h, link, name, route, table, when } from './dom.js'

// counts is a table of causes, those of the last minute first.
function counts(title, nodes, member, empty) {
  const all = new Map()
  for (const n of nodes) {
    for (const [cause, v] of Object.entries(n[member] ?? {})) {
      const c = all.get(cause) ?? { total: 0, lately: 0 }
      c.total += v
      c.lately += n[member + '_lately']?.[cause] ?? 0
      all.set(cause, c)
    }
  }
  const rows = [...all].sort(([a, x], [b, y]) => y.lately - x.lately || y.total - x.total || (a < b ? -1 : 1))
  return h('section', h('h2', title), table(title, ['Cause', '#Last minute', '#Since start'], rows.map(([cause, c]) => ({ key: cause, cells: [h('code', cause), c.lately ? h('strong', count(c.lately)) : '0', count(c.total)] })), empty))
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
