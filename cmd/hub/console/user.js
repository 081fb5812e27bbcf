// A user's sessions, or one session, and what may be done with them.
import { action, acts, look, mayAct, poll } from './api.js'
import { bytes, clock, count, entry, facts, field, form, h, link, name, route, span, table, when } from './dom.js'

const closed = (a) => 'Done. ' + (a.closed_here ? `${a.closed_here} of them were on the hub that was asked.` : 'None of them was on the hub that was asked.')

function session(s) {
  return h('section.card', { key: s.session },
    h('h2', link('session', s.session), h('span.tag', s.protocol), s.traced && h('span.tag', 'traced'), s.lagging && h('span.tag.warn', 'lagging')),
    facts([
      ['hub', link('fleet', s.node)],
      ['user', s.user ? link('user', s.user) : 'anonymous'],
      ['address', h('code', s.addr)],
      ['since', when(s.since)],
      ['heard', s.heard_ms === undefined ? '' : span(s.heard_ms) + ' ago'],
      ['next ping', s.ping_in_ms === undefined ? '' : 'in ' + span(s.ping_in_ms) + (s.awaits_pong ? ', no pong yet' : '')],
      ['round trip', s.rtt_ms === undefined ? '' : span(s.rtt_ms)],
      ['queued', bytes(s.queued_bytes ?? 0)],
      ['owed', bytes(s.owed_bytes ?? 0)],
      ['token ends', s.token_expires ? when(s.token_expires) : 'never'],
      ['resumed', s.resumed ? (s.resumed_at ? when(s.resumed_at) : 'yes') : ''],
    ]),
    table('Topics of ' + s.session, ['Topic', 'State', 'Position'], (s.topics ?? []).map((t) => ({
      key: t.topic, cells: [link('topic', t.topic), t.state, h('code.fine', t.position ?? '–')],
    })), 'It follows no topic.'),
    s.topic_count > (s.topics ?? []).length && h('p.hint', `${count(s.topic_count)} topics in all; the first ${s.topics.length} are shown.`),
    acts(action('Disconnect this session', {
      danger: true, path: '/api/disconnect', body: () => ({ session: s.session }), told: closed,
      sure: { title: 'Disconnect this session?', text: `${s.session} is closed with 4003. hub.js does not come back from that by itself.` },
    })))
}

function userActs(id) {
  return acts(
    h('a.button', { href: route('tail', undefined, { user: id }) }, 'Tail'),
    action('Trace 10 minutes', {
      path: '/api/trace', body: () => ({ user: id, for: '10m' }),
      told: (a) => `Traced until ${clock(a.until)} on ${a.nodes?.join(', ') || 'no hub'}${a.silent?.length ? '; silent: ' + a.silent.join(', ') : ''}. The lines are in the logs of the hubs.`,
    }),
    action('Disconnect all', {
      danger: true, path: '/api/disconnect', body: () => ({ user: id }), told: closed,
      sure: { title: 'Disconnect all sessions?', text: `All connections of user “${id}”, on all hubs, are closed with 4003.` },
    }),
    action('Revoke tokens', {
      danger: true, path: '/api/revoke', body: () => ({ user: id }), told: () => 'Done. The tokens issued until now are refused, on all hubs.',
      sure: { title: 'Revoke the tokens?', text: `All connections of user “${id}” are closed with 4001, and the tokens issued until now are refused for good. The user has to log in again.` },
    }))
}

export default function user(root, at) {
  const one = at.view === 'session'
  const input = entry({ type: 'search', value: at.name, placeholder: '42, or s_…' })
  root.append(
    h('h1', at.name ? [one ? 'Session ' : 'User ', name(at.name)] : 'Users'),
    form('form.search', () => {
      const id = input.value.trim()
      if (id) location.hash = route(id.startsWith('s_') ? 'session' : 'user', id)
    }, field('User id, or name of a session', input), h('button.primary', 'Find')))
  if (!at.name) {
    input.focus()
    root.append(h('p.empty', 'The id of a user is the sub of its token. All its sessions, on all hubs, are then here.'))
    return
  }
  return poll(root, (signal) => look(one ? '/api/session' : '/api/user', { id: at.name }, signal), (a) => [
    !one && h('div', { key: 'acts' }, userActs(at.name)),
    mayAct() && h('p.hint', { key: 'off' }, mayAct()),
    h('p.hint', { key: 'count' }, a.sessions.length === 0 ? (one ? 'No hub has a session by that name.' : 'This user has no session on any hub that answered. Reasons may say why.')
      : one ? '' : count(a.sessions.length) + (a.sessions.length === 1 ? ' session' : ' sessions') + (a.more ? ', and there are more' : '')),
    !one && a.sessions.length === 0 && h('p.links', { key: 'why' }, link('reasons', undefined, 'Reasons of this user', { user: at.name })),
    a.sessions.map(session),
  ])
}
