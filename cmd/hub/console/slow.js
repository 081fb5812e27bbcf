// The clients for which most bytes wait.
import { look, poll } from './api.js'
import { bytes, count, h, link, span, table } from './dom.js'

export default function slow(root) {
  root.append(h('h1', 'Slow consumers'))
  return poll(root, (signal) => look('/api/slow', {}, signal), (a) => [
    h('p.hint', a.waiting ? `${count(a.waiting)} clients have bytes that wait, ${bytes(a.backlog_bytes)} in all. These have most:` : ''),
    table('Slow consumers', ['Session', 'User', 'Hub', 'Protocol', 'Address', '#Queued', '#Owed', '#Nothing left for'], a.sessions.map((s) => ({
      key: s.session,
      mark: s.still_ms > 1000 ? 'warned' : undefined,
      cells: [link('session', s.session), link('user', s.user), link('fleet', s.node), s.protocol, h('code', s.addr), bytes(s.queued_bytes), bytes(s.owed_bytes), span(s.still_ms)],
    })), 'No client is slow: nothing waits for any of them.'),
    h('p.hint', 'A client is cut when nothing leaves to it for a second while over --max-queued waits: see Reasons, slow_consumer.'),
  ], 3000)
}
