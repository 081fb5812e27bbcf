// A live stream of a topic, or of what happens to a user.
import { ask, mayAct, status, trouble } from './api.js'
import { byId, clock, count, draw, h, link, logged, pretty, route, submitted } from './dom.js'

const most = 500 // lines that wait to be shown, or while the view is paused

// lines reads JSON objects, one a line.
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    const parts = (rest + value).split('\n')
    rest = parts.pop()
    if (rest.length > 1 << 20) throw new Error('a line of the stream is over 1 MiB')
    for (const part of parts) if (part) yield JSON.parse(part)
  }
}

// summary is a line in words.
function summary(m) {
  switch (m.kind) {
    case 'event': return m.data === undefined ? `${count(m.bytes)} bytes` : JSON.stringify(m.data)
    case 'trace': return [m.what, m.session, ...Object.entries(m.fields ?? {}).map(([k, v]) => `${k}=${typeof v === 'string' ? v : JSON.stringify(v)}`)].filter(Boolean).join('  ')
    case 'gap': return 'events may have been lost here'
    case 'skipped': return `${count(m.events)} more came than the rate allows`
    case 'silent': return m.nodes?.length ? 'no answer from ' + m.nodes.join(', ') : 'all hubs answer again'
    case 'begin': return `${m.node} streams ${m.topic ?? 'user ' + m.user}`
    case 'end': return m.reason ?? 'the stream ended'
  }
  return JSON.stringify(m)
}

function row(m) {
  const text = summary(m)
  const head = [h('time', { title: m.time ?? '' }, m.time ? clock(m.time, true) : ''), h('span.kind', m.kind === 'trace' ? m.node ?? 'trace' : m.kind), h('code', text.slice(0, 400))]
  const el = m.kind === 'event' || m.kind === 'trace' ? h('details.event.' + m.kind, h('summary', head), h('pre', pretty(m))) : h('div.event.' + m.kind, head)
  el.filterText = (m.kind + ' ' + text).toLowerCase()
  return el
}

export default function tail(root, at) {
  const { user, topic } = at.query
  root.append(byId('tail').content.cloneNode(true))
  const [{ kind, target, rate, end }, { filter, pause, clear }] = [...root.querySelectorAll('form')].map((el) => el.elements)
  const log = root.querySelector('.log'), told = root.querySelector('.hint'), problem = root.querySelector('.search + div')
  let stream, held = [], paused = false, fresh = [], drawing = false
  let seen, skipped, dropped
  kind.value = user ? 'user' : 'topic'
  target.value = user ?? topic ?? ''
  rate.value = at.query.rate ?? '50'
  filter.oninput = refilter
  pause.onclick = togglePause
  clear.onclick = () => log.replaceChildren()
  end.onclick = stop
  submitted(target.form, () => {
    const to = route('tail', undefined, { [kind.value]: target.value.trim(), rate: rate.value })
    if (to === location.hash) start()
    else location.hash = to
  })
  submitted(filter.form, refilter)
  if (user ?? topic) draw(root.querySelector('span:empty'), user ? link('user', user, 'The user') : link('topic', topic, 'The topic'))

  const tell = (state) => {
    told.textContent = `${state} · ${count(seen)} lines` + (skipped ? ` · ${count(skipped)} skipped: more came than ${rate.value} a second` : '') +
      (held.length ? ` · ${count(held.length)} held` : '') + (dropped ? ` · ${count(dropped)} dropped while paused` : '')
  }
  const hides = (el) => filter.value !== '' && !el.filterText.includes(filter.value.toLowerCase())
  function refilter() { for (const el of log.children) el.hidden = hides(el) }

  function togglePause() {
    paused = !paused
    pause.setAttribute('aria-pressed', String(paused))
    pause.textContent = paused ? 'Go on' : 'Pause'
    if (!paused) { fresh.push(...held.splice(0)); dropped = 0; drawSoon() }
  }

  // drawSoon puts what came into the page, once a frame.
  function drawSoon() {
    if (drawing) return
    drawing = true
    requestAnimationFrame(() => {
      drawing = false
      const rows = fresh.splice(0).slice(-most).map(row)
      for (const el of rows) el.hidden = hides(el)
      logged(log, rows)
      tell(stream ? (paused ? 'Paused' : 'Live') : 'Ended')
    })
  }

  function take(m) {
    if (m.kind === 'beat') return
    if (m.kind === 'skipped') skipped += m.events ?? 0
    else seen++
    const queue = paused ? held : fresh
    queue.push(m)
    if (queue.length > most) { queue.shift(); if (paused) dropped++ }
    drawSoon()
  }

  async function start() {
    stop()
    const own = stream = new AbortController()
    seen = skipped = dropped = 0
    held = []
    draw(problem)
    tell('Asking')
    try {
      const res = await ask('/api/tail', { query: { [user ? 'user' : 'topic']: user ?? topic, rate: rate.value }, signal: own.signal })
      tell('Live')
      status('live')
      for await (const m of lines(res.body)) if (own === stream) take(m)
      if (own === stream) { stream = null; tell('Ended') }
    } catch (err) {
      if (own.signal.aborted) return
      stream = null
      tell('Ended')
      draw(problem, trouble(err, start))
    }
    status('')
  }

  function stop() {
    stream?.abort()
    if (stream) tell('Stopped')
    stream = null
    status('')
  }

  if (mayAct()) draw(problem, h('p.notice.warn', mayAct()))
  else if (user ?? topic) start()
  else root.querySelector('.empty').hidden = false
  return stop
}
