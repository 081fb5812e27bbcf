// The JSON API of the control port, the key for it, and looks that repeat.
import { button, byId, clock, draw, entry, field, form, h, say } from './dom.js'

// The key lives here, and nowhere else: a reload forgets it.
let key = ''
let looksOnly = false // the key may look, and nothing else
let asking = null

// refused is an error in the API's own words; its status is 0 if there is no answer.
const refused = (status, code, message) => Object.assign(new Error(message), { status, code })

// mayAct is '' if the key may act, as far as the page knows, else the reason why not.
export const mayAct = () => looksOnly ? 'A console key may look, but not act or tail.' : ''

export const hasKey = () => key !== ''

export function forgetKey() { key = ''; looksOnly = false }

// ask sends a request and returns its answer. A 401 asks the operator for a key, and then sends it again.
export async function ask(path, { query, body, signal } = {}) {
  const q = new URLSearchParams(Object.entries(query ?? {}).filter(([, v]) => v !== undefined && v !== '')).toString()
  for (let wrong = ''; ;) {
    const used = key
    const res = await send(path + (q && '?' + q), body, signal)
    if (res.ok) return res
    const err = await refusal(res)
    if (res.status !== 401) throw err
    if (used === key) wrong = err.message // else another request has got a key meanwhile
    if (used === key && !await askKey(used ? 'That key was not accepted. ' + wrong : wrong)) throw err
    signal?.throwIfAborted()
  }
}

export const look = async (path, query, signal) => (await ask(path, { query, signal })).json()

export const order = async (path, body) => (await ask(path, { body })).json()

async function send(path, body, signal) {
  const headers = key ? { Authorization: 'Bearer ' + key } : {}
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  try {
    const res = await fetch(path, { method: body === undefined ? 'GET' : 'POST', headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: 'no-store', credentials: 'omit', redirect: 'error' })
    if (res.ok) looksOnly = res.headers.get('X-Hub-Key') === 'console'
    return res
  } catch (err) {
    if (err.name === 'AbortError') throw err
    throw refused(0, 'unreachable', 'The hub can’t be reached.')
  }
}

async function refusal(res) {
  const text = await res.text()
  try {
    const { code, message } = JSON.parse(text).error
    return refused(res.status, code, message)
  } catch {
    return refused(res.status, 'http_' + res.status, text.trim().slice(0, 300) || 'HTTP ' + res.status)
  }
}

// modal shows a dialog, and tells whether it was closed with 'ok'.
function modal(title, inside) {
  return new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-label': title })
    dialog.append(h('h2', title), ...inside((how) => dialog.close(how)))
    dialog.onclose = () => {
      dialog.remove()
      resolve(dialog.returnValue === 'ok')
    }
    document.body.append(dialog)
    dialog.showModal()
  })
}

// askKey shows one dialog, however many requests want a key. It is false if the operator has none.
export function askKey(why) {
  const input = entry({ type: 'password', required: true })
  asking ??= modal('This hub wants a key', (close) => [h('p', why), form('form', () => {
    key = input.value.trim()
    looksOnly = false
    close('ok')
    document.dispatchEvent(new Event('key'))
  },
  field('API key or console key', input, 'It stays in the memory of this page until a reload, and goes to this hub only.'),
  h('div.buttons', h('button.primary', 'Use this key'), button('Cancel', () => close(''))))]).finally(() => { asking = null })
  return asking
}

// confirmed asks the operator once more.
export const confirmed = (title, text, label) => modal(title, (close) => [h('p', text),
  h('div.buttons', button('Cancel', () => close(''), { autofocus: true }), h('button.danger', { onclick: () => close('ok') }, label))])

// action is a button that has the API do something. told says in words what the answer means; sure is asked before.
export function action(label, { path, body, told, sure, danger }) {
  const off = mayAct()
  return h(danger ? 'button.danger' : 'button', {
    type: 'button', title: off || null, 'aria-disabled': off ? 'true' : null,
    async onclick(e) {
      const out = e.target.closest('.acts').querySelector('.outcome')
      const tell = (text, bad) => { out.textContent = text; out.classList.toggle('bad', bad) }
      if (mayAct()) return tell(mayAct(), true)
      if (sure && !await confirmed(sure.title, sure.text?.call?.() ?? sure.text, label)) return
      tell('…', false)
      try { tell(told(await order(path, body())), false) } catch (err) { tell(err.message, true) }
    },
  }, label)
}

// acts is a row of actions with room for their outcome.
export const acts = (...list) => h('div.acts', h('div.buttons', list), h('p.outcome', { role: 'status', 'data-keep': '' }))

const slowest = 30_000 // ms between two attempts

// poll shows what load returns, again and again: one request at a time, only while the page is visible, more rarely after errors.
// It returns the function that ends it, whose redraw shows the last answer anew.
export function poll(root, load, show, every = 2000) {
  const ended = new AbortController()
  let timer, busy = false, failures = 0, seen = null, last
  const note = h('div')
  const body = h('div', h('p.hint', 'Asking the hubs …'))
  root.append(note, body)

  async function turn() {
    clearTimeout(timer)
    if (busy || ended.signal.aborted || document.visibilityState !== 'visible') return
    busy = true
    try {
      const answer = await load(ended.signal)
      if (ended.signal.aborted) return
      failures = 0
      seen = new Date()
      last = answer
      draw(note, gaps(answer))
      draw(body, show(answer))
      status('as of ' + clock(seen) + ' · every ' + every / 1000 + ' s')
    } catch (err) {
      if (ended.signal.aborted) return
      if (err.status === undefined) reportError(err) // a fault of this page
      failures++
      const wait = Math.min(every * 2 ** failures, slowest)
      draw(note, trouble(err, turn))
      body.classList.toggle('old', seen !== null)
      if (failures === 1) say(err.message)
      const of = seen ? 'as of ' + clock(seen) : 'no answer yet'
      status(of)
      if (err.status >= 400 && err.status < 429) return // asking again changes nothing
      status(of + ' · again in ' + Math.round(wait / 1000) + ' s')
      timer = setTimeout(turn, wait)
      return
    } finally { busy = false }
    body.classList.remove('old')
    timer = setTimeout(turn, every)
  }
  document.addEventListener('visibilitychange', turn, { signal: ended.signal })
  turn()
  return Object.assign(() => { ended.abort(); clearTimeout(timer) }, { redraw: () => { if (last) draw(body, show(last)) } })
}

export function status(text) { byId('status').textContent = text }

// trouble is an error in the API's words.
export function trouble(err, again) {
  return h('div.notice.bad', { role: 'alert' }, h('p', h('strong', err.status || '', ' ', err.code), ' ', err.message),
    h('div.buttons',
      button('Try again', again),
      (err.status === 401 || err.status === 403) && button('Enter a key', async () => { if (await askKey('Give a key that this hub knows.')) again() })))
}

// gaps says whose knowledge an answer lacks.
function gaps({ silent, failed, alone }) {
  const notice = (kind, title, ...text) => h('p.notice.' + kind, { key: title }, h('strong', title), ': ', text)
  return [
    silent?.length > 0 && notice('bad', 'Silent', silent.join(', '), '. Their part is missing here.'),
    failed?.length > 0 && notice('bad', 'Failed', failed.map((f) => f.node + ': ' + f.error).join('; ')),
    alone && notice('warn', 'One hub only', alone),
  ]
}
