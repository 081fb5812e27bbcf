// A topic, or the topics whose names begin alike.
import { action, acts, look, poll } from './api.js'
import { count, entry, facts, field, form, h, link, name, pretty, route, spark, table, when } from './dom.js'

function search(value) {
  const input = entry({ type: 'search', value, placeholder: 'news, or room:*' })
  return form('form.search', () => {
    const text = input.value.trim()
    location.hash = text.endsWith('*') || !text ? route('topic', undefined, { prefix: text.replace(/\*$/, '') }) : route('topic', text)
  }, field('Topic, or the beginning of names and *', input), h('button.primary', 'Find'))
}

function list(root, prefix) {
  root.append(h('h1', 'Topics'), search(prefix ? prefix + '*' : ''))
  return poll(root, (signal) => look('/api/topics', { prefix, limit: 200 }, signal), (a) => [
    h('p.hint', a.topics.length ? `${count(a.topics.length)} topics, those with the most followers first` + (a.more ? `; ${count(a.matched)} fit` : '') + (prefix ? `, all begin with “${prefix}”` : '') : ''),
    table('Topics', ['Topic', '#Followers'], a.topics.map((t) => ({ key: t.topic, cells: [link('topic', t.topic), count(t.followers)] })),
      prefix ? 'Nobody follows a topic whose name begins so.' : 'Nobody follows any topic.'),
  ], 5000)
}

function publisher(topic) {
  const data = h('textarea', { rows: 3, spellcheck: 'false' }, '{"hello":"world"}')
  const key = entry({ maxlength: 128 })
  return h('details.card', { key: 'publish', 'data-keep': '' }, h('summary', 'Publish'),
    h('div.form', field('Data (JSON)', data), field('Key (optional)', key, 'With a key it is safe to publish again: the event exists once.')),
    acts(action('Publish', {
      path: '/api/publish',
      body: () => {
        let value
        try { value = JSON.parse(data.value) } catch (err) { throw new Error('Data is no JSON: ' + err.message) }
        return { topic, data: value, ...(key.value && { key: key.value }) }
      },
      told: (a) => 'Published' + (a.position ? ' at ' + a.position : '') + (a.followers_here === undefined ? '.' : `; ${a.followers_here} followers on the hub that was asked.`),
    })))
}

function event(e) {
  const text = JSON.stringify(e.data) ?? ''
  return h('details.event', { key: e.position }, h('summary', when(e.time, true), e.name && h('span.tag', e.name), h('code', text.slice(0, 300))),
    h('pre', pretty(e.data)), facts([['position', h('code.fine', e.position)], ['tags', e.tags && JSON.stringify(e.tags)]]))
}

// presence shows who is in the topic; p is undefined if it has no presence.
const presence = (p) => p && [
  h('h2', { key: 'who' }, 'Who is there'),
  p.error ? h('p.empty', { key: 'unread' }, 'The presence can’t be read: ' + p.error)
    : h('p.hint', { key: 'many' }, `${count(p.clients)} clients of ${count(p.users)} users` + (p.next ? `; ${count(p.members.length)} are shown` : '')),
  p.members && table('Who is there', ['User', 'Session', 'Since', 'Info'], p.members.map((m) => ({
    key: m.session,
    cells: [m.user ? link('user', m.user) : 'anonymous', link('session', m.session), when(new Date(m.since).toISOString()), h('code.fine', m.info ? JSON.stringify(m.info).slice(0, 300) : '–')],
  })), 'Nobody is there.'),
]

const readPresence = (topic, signal) => look('/api/presence', { topic, limit: 100 }, signal).catch((err) => {
  if (err.code === 'no_presence') return undefined
  if (err.name === 'AbortError' || err.status === 401) throw err
  return { error: err.message }
})

export default function topic(root, at) {
  if (!at.name) return list(root, at.query.prefix ?? '')
  const rates = []
  root.append(h('h1', 'Topic ', name(at.name)), search(at.name))
  const publishing = publisher(at.name)
  return poll(root, async (signal) => {
    const a = await look('/api/topic', { name: at.name, events: 20 }, signal)
    return { ...a, presence: await readPresence(at.name, signal) }
  }, (a) => {
    if (a.rate !== undefined) rates.push(a.rate)
    if (rates.length > 60) rates.shift()
    return [
      h('dl.tiles',
        h('div.tile', h('dt', 'followers'), h('dd', count(a.followers))),
        h('div.tile', h('dt', 'waiting'), h('dd', count(a.waiting ?? 0))),
        h('div.tile', h('dt', 'events/s'), h('dd', count(a.rate), spark(rates, 'events a second, lately')))),
      facts([['history', a.history_error || (a.kept ? 'kept' : 'none: no --history fits this name')], ['position', a.position && h('code.fine', a.position)], ['events kept', a.events_total === undefined ? '' : count(a.events_total)],
        ['partition', a.publish?.partition], ['raw publishing', a.publish && h('code.fine', `${a.publish.command} ${a.publish.channel}`)]]),
      h('p.links', { key: 'links' }, link('tail', undefined, 'Live tail', { topic: at.name }), at.name.startsWith('user:') && [' ', link('user', at.name.slice(5), 'The user')]),
      table('Followers by hub', ['Hub', '#Followers', '#Waiting', 'Protocols', '#Events/s'], a.nodes.map((n) => ({
        key: n.node,
        cells: [link('fleet', n.node), count(n.followers), count(n.waiting ?? 0), Object.entries(n.protocols ?? {}).map(([p, v]) => `${p} ${count(v)}`).join(' · ') || '–', count(n.rate)],
      })), 'Nobody follows this topic.'),
      presence(a.presence),
      publishing,
      h('h2', { key: 'last' }, 'Last events'),
      (a.events ?? []).map(event),
      !a.events?.length && h('p.empty', { key: 'none' }, a.history_error ? 'They can’t be read now.' : a.kept ? 'The history is empty.' : 'No event is kept. The live tail shows those that come.'),
    ]
  }, 3000)
}
