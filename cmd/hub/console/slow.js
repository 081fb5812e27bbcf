// The clients for which most bytes wait, and the users that send or connect most.
import { look, poll } from './api.js'
import { bytes, count, h, link, span, table } from './dom.js'

const busy = (title, list, empty) => h('section', h('h2', title), table(title, ['User', 'Hub', '#A minute'], list.slice(0, 10).map((b) => ({
  key: b.node + ' ' + (b.user ?? b.session),
  cells: [b.user ? link('user', b.user) : ['anonymous ', link('session', b.session)], link('fleet', b.node), count(b.per_second * 60)],
})), empty))

export default function slow(root, at) {
  const { node } = at.query
  const both = async (signal) => {
    const waits = await look('/api/slow', { node }, signal)
    return { ...waits, busy: await look('/api/busy', { node }, signal) }
  }
  root.append(h('h1', 'Clients'))
  if (node) root.append(h('p.hint', `Of ${node} only. `, link('slow', undefined, 'All hubs')))
  return poll(root, both, (a) => [
    h('h2', 'Slow consumers'),
    h('p.hint', a.waiting ? `${count(a.waiting)} clients have bytes that wait, ${bytes(a.backlog_bytes)} in all. These have most:` : ''),
    table('Slow consumers', ['Session', 'User', 'Hub', 'Protocol', 'Address', '#Queued', '#Owed', '#Nothing left for'], a.sessions.map((s) => ({
      key: s.session,
      mark: s.still_ms > 1000 ? 'warned' : undefined,
      cells: [link('session', s.session), link('user', s.user), link('fleet', s.node), s.protocol, h('code', s.addr), bytes(s.queued_bytes), bytes(s.owed_bytes), span(s.still_ms)],
    })), 'No client is slow: nothing waits for any of them.'),
    h('p.hint', 'A client is cut when nothing leaves to it for a second while over --max-queued waits: see ', link('reasons', undefined, 'those cut', { kind: 'cut' }), '.'),
    h('div.columns',
      busy('Most messages', a.busy.senders, 'No client sent a message within the last minute.'),
      busy('Most connects', a.busy.comers, 'No user connected twice within the last minute.')),
  ], 3000)
}
