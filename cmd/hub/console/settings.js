// What the settings come to. One row for each setting, whichever hubs share its value.
import { look, poll } from './api.js'
import { entry, field, form, h, link, name, table } from './dom.js'

const own = ['node', 'addr', 'port', 'control'] // each hub has its own

export default function settings(root, at) {
  let stop
  const redraw = () => stop.redraw()
  const find = entry({ type: 'search', value: at.query.find ?? '', oninput: redraw })
  const only = h('input', { type: 'checkbox', checked: true, onchange: redraw })
  const differ = h('input', { type: 'checkbox', checked: !!at.query.differ, onchange: redraw })
  const { node } = at.query
  root.append(h('h1', 'Settings'), form('form.search', () => {}, field('Find', find), h('label.check', only, 'only what differs from the default'), h('label.check', differ, 'only where hubs differ')))
  if (node) root.append(h('p.hint', `Of ${node} only. `, link('settings', undefined, 'All hubs')))
  stop = poll(root, (signal) => look('/api/settings', { node }, signal), ({ nodes }) => {
    const rows = new Map()
    for (const n of nodes) {
      for (const s of n.settings) {
        const r = rows.get(s.name) ?? { ...s, changed: false, of: new Map() }
        const value = JSON.stringify([s.value ?? '', s.from ?? ''])
        r.of.set(value, [...(r.of.get(value) ?? []), n.node])
        r.changed ||= s.changed ?? false
        rows.set(s.name, r)
      }
    }
    const apart = (r) => !own.includes(r.name) && new Set([...r.of.keys()].map((v) => JSON.parse(v)[0])).size > 1
    const fits = (r) => (!differ.checked || apart(r)) && (r.changed || r.of.size > 1 || !only.checked) && `${r.name} ${r.group} ${[...r.of.keys()]}`.toLowerCase().includes(find.value.toLowerCase())
    const cell = (r, which) => [...r.of].map(([value, hubs]) => h('div', h('code', JSON.parse(value)[which] || '–'), r.of.size > 1 && h('small', ' ', hubs.join(', '))))
    return [
      table('Settings', ['Setting', 'Value', 'Default', 'From', 'Group'], [...rows.values()].filter(fits).map((r) => ({
        key: r.name,
        mark: r.changed ? 'changed' : undefined,
        cells: [[h('code', '--' + r.name), apart(r) && h('span.tag.warn', 'hubs differ')], cell(r, 0), h('code', r.default || '–'), cell(r, 1), r.group],
      })), !nodes.length ? 'No hub answers.' : find.value || differ.checked ? 'No setting fits.' : 'Every setting is the default.'),
      h('h2', 'Notes'),
      nodes.map((n) => h('section', { key: n.node }, h('h3', name(n.node)), n.notes?.length ? h('ul', n.notes.map((t) => h('li', t))) : h('p.hint', 'None.'))),
    ]
  }, 5000)
  return stop
}
