// A client to try the hub by hand: hub.v1, plain, and the JSON of Centrifugo.
import { button, byId, clock, draw, h, logged, pretty, submitted } from './dom.js'

const meta = (what) => document.querySelector(`meta[name=hub-${what}]`).content

// address is the public port, seen from this page. Pages with TLS reach other machines by TLS only.
function address(path) {
  const tls = meta('scheme') === 'wss' || location.protocol === 'https:' && !/^(localhost|127|\[::1)/.test(location.hostname)
  return `ws${tls ? 's' : ''}://${location.hostname}:${meta('port')}${path}`
}

// A protocol makes the address, the subprotocols and the examples; open, sent, heard and back are how a session begins, is followed
// and goes on. Its memory m has what it needs to come back; kept says whether there is anything.
const protocols = {
  v1: {
    title: 'hub.v1', path: meta('path'),
    connect: (f) => ({ query: { user: f.user }, sub: ['hub.v1.json', ...(f.token ? ['bearer.' + f.token] : [])] }),
    examples: (topic) => ({
      subscribe: { type: 'subscribe', id: 1, topic },
      publish: { type: 'publish', id: 2, topic, data: { hello: 'world' } },
      'publish once': { type: 'publish', id: 3, topic, data: { hello: 'world' }, key: 'order-17' },
      history: { type: 'history', id: 4, topic, limit: 10 },
      unsubscribe: { type: 'unsubscribe', id: 5, topic },
      ping: { type: 'ping', id: 6 },
      auth: { type: 'auth', id: 7, token: '<JWT>' },
    }),
    heard(m, text) {
      const msg = JSON.parse(text)
      if (msg.token && (msg.type === 'resumed' || !m.token)) m.token = msg.token
      if (msg.topic && (msg.type === 'subscribed' || msg.type === 'event' || msg.type === 'gap')) m.positions[msg.topic] = msg.position ?? m.positions[msg.topic] ?? ''
      for (const [topic, r] of Object.entries(msg.topics ?? {})) if (r.position) m.positions[topic] = r.position
      if (msg.type === 'error' && msg.code === 'unsubscribed') delete m.positions[msg.topic]
    },
    kept: (m) => m.token,
    back: (m) => [{ type: 'resume', id: 'back', token: m.token, positions: m.positions }],
  },
  plain: {
    title: 'plain', path: meta('path'),
    connect: (f) => ({ query: { user: f.user, topic: f.topic }, sub: ['hub.v1.plain', ...(f.token ? ['bearer.' + f.token] : [])] }),
    examples: () => ({ 'any JSON': { hello: 'world' } }),
    heard() {},
  },
  centrifugo: {
    title: 'Centrifugo (JSON)', path: meta('centrifugo'),
    connect: (f) => ({ query: { user: f.user }, sub: ['centrifuge-json'] }),
    open: (f) => [{ id: 1, connect: f.token ? { token: f.token } : {} }],
    examples: (channel) => ({
      subscribe: { id: 2, subscribe: { channel } },
      publish: { id: 3, publish: { channel, data: { hello: 'world' } } },
      history: { id: 4, history: { channel, limit: 10 } },
      unsubscribe: { id: 5, unsubscribe: { channel } },
    }),
    sent(m, text) { // commands stand one a line
      const command = JSON.parse(text), { subscribe, unsubscribe } = command
      if (subscribe) m.positions[m.asked = subscribe.channel] = null
      if (unsubscribe) delete m.positions[unsubscribe.channel]
      return JSON.stringify(command)
    },
    heard(m, text, send) {
      for (const line of text.split('\n').filter(Boolean)) {
        const { subscribe: s, push, ...other } = JSON.parse(line)
        if (line === '{}') send('{}') // a ping, and its answer
        if (s?.epoch && m.asked) m.positions[m.asked] = { epoch: s.epoch, offset: s.offset ?? 0 }
        if (push?.pub?.offset && m.positions[push.channel]) m.positions[push.channel].offset = push.pub.offset
        if (other.error) m.asked = null
      }
    },
    kept: (m) => Object.keys(m.positions).length,
    back: (m) => Object.entries(m.positions).map(([channel, p], i) => ({ id: 100 + i, subscribe: p ? { channel, recover: true, ...p } : { channel } })),
  },
}

// why is a close in words.
function why(e, opened) {
  for (const { cells: [code, cause, advice] } of byId('codes').content.querySelectorAll('tr')) {
    if (code.textContent === String(e.code)) return `${cause.textContent}: the client should ${advice.textContent}`.trim()
  }
  if (e.code === 1000) return 'closed in order'
  if (!opened) return 'refused, or nobody listens there. Browsers hide the reason: see Reasons'
  if (e.code === 1006) return 'the connection broke, or the hub cut a slow consumer: come back'
  return e.code >= 3000 && e.code < 4000 ? 'a code of Centrifugo’s protocol' : ''
}

export default function tryit(root) {
  root.append(byId('try').content.cloneNode(true))
  const [f, { message, clear }] = [...root.querySelectorAll('form')].map((el) => el.elements)
  const log = root.querySelector('.log'), told = root.querySelector('.hint')
  let ws, session = { positions: {} }
  f.protocol.append(...Object.entries(protocols).filter(([, p]) => p.path !== 'off').map(([key, p]) => h('option', { value: key }, p.title)))
  f.protocol.onchange = changed
  f.topic.oninput = examples
  f.off.onclick = () => ws?.close(1000)
  f.cut.onclick = leave
  f.back.onclick = () => connect(true)
  clear.onclick = () => log.replaceChildren()
  submitted(f.url.form, () => connect(false))
  submitted(message.form, () => send(message.value))
  message.onkeydown = (e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) message.form.requestSubmit() }

  const chosen = () => protocols[f.protocol.value]
  const values = () => ({ user: f.user.value.trim(), topic: f.topic.value.trim(), token: f.token.value.trim() })

  function examples() {
    const list = Object.entries(chosen().examples(f.topic.value.trim()))
    draw(byId('examples'), list.map(([label, m]) => button(label, () => { message.value = pretty(m); message.focus() })))
    return list
  }

  function changed() {
    f.url.value = address(chosen().path)
    session = { positions: {} }
    message.value = pretty(examples()[0][1])
    enable()
  }

  function enable() {
    const open = ws?.readyState === WebSocket.OPEN, p = chosen()
    f.off.disabled = f.cut.disabled = !open
    f.back.disabled = !p.kept?.(session)
    f.back.title = p.back ? '' : 'A plain client has no session to take up.'
    told.textContent = open ? 'Connected' : 'Not connected' + (p.kept?.(session) ? '. The session can be resumed.' : '')
  }

  function note(kind, text) {
    logged(log, [h('div.frame.' + kind, h('time', clock(Date.now(), true)), h('span.kind', { in: '← in', out: '→ out', note: '' }[kind]), h('pre', text))])
  }

  function send(data) {
    if (ws?.readyState !== WebSocket.OPEN) return note('note', 'Not connected: nothing was sent.')
    try { data = chosen().sent?.(session, data) ?? data } catch { /* the hub says what is wrong with it */ }
    ws.send(data)
    note('out', pretty(data))
  }

  // leave forgets the connection at once, as a lost network does.
  function leave() {
    if (!ws) return
    ws.onclose = ws.onmessage = null
    ws.close(4999)
    ws = null
    note('note', 'Broken off.')
    enable()
  }

  function connect(again) {
    leave()
    const p = chosen(), { query, sub } = p.connect(values())
    if (!again) session = { positions: {} }
    let own, opened = false
    try {
      const url = new URL(f.url.value)
      for (const [k, v] of Object.entries(query)) if (v) url.searchParams.set(k, v)
      own = ws = new WebSocket(url, sub)
      note('note', 'Connecting to ' + url)
    } catch (err) { return note('note', err.message) }
    own.onopen = () => {
      opened = true
      note('note', 'Connected' + (own.protocol && ', ' + own.protocol) + '.')
      for (const m of [...(p.open?.(values()) ?? []), ...(again ? p.back(session) : [])]) send(JSON.stringify(m))
      enable()
    }
    own.onmessage = (e) => {
      note('in', e.data.split('\n').map(pretty).join('\n'))
      try { p.heard(session, e.data, (s) => own.send(s)) } catch { /* a plain event may be any JSON */ }
      enable()
    }
    own.onclose = (e) => {
      note('note', ['Closed', e.code, e.reason].filter(Boolean).join(' ') + `: ${why(e, opened)}.`)
      if (own === ws) { ws = null; enable() }
    }
    enable()
  }

  changed()
  return leave
}
