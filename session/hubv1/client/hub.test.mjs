// Tests of hub.js against a hub that the test plays itself, in virtual time. cmd/hub tests it with real ones.
import assert from 'node:assert/strict'
import { beforeEach, afterEach, mock, test } from 'node:test'
import { Hub, HubError } from './hub.js'

/** What the test plays the hub with. */
class Socket {
  static all = []
  static get last() {
    return Socket.all.at(-1)
  }

  constructor(url, protocols) {
    if (Socket.refuse) throw Socket.refuse
    Object.assign(this, { url, protocols, sent: [], at: Date.now() })
    Socket.all.push(this)
  }
  send(text) {
    this.sent.push(JSON.parse(text))
  }
  close() {
    this.closed = true
  }
  say(m) {
    this.onmessage?.({ data: JSON.stringify(m) })
  }
  drop(code = 1006, reason = '') {
    this.onclose?.({ code, reason })
  }
  welcome(more) {
    this.say({ type: 'welcome', session: 's_1', node: 'n1', ping: 25, token: 'fresh', ...more })
  }
  /** Takes the first request of that type that was not taken yet. */
  take(type) {
    const i = this.sent.findIndex((m) => m.type === type)
    assert.ok(i >= 0, `no ${type} in ${JSON.stringify(this.sent)}`)
    return this.sent.splice(i, 1)[0]
  }
  resumed(topics, more) {
    this.take('resume')
    this.say({ type: 'resumed', id: 'resume', session: 's_1', token: 'next', topics, ...more })
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))
const page = new EventTarget()
let random = 0.5
const hubs = []

beforeEach(() => {
  Socket.all = []
  Socket.refuse = undefined
  random = 0.5
  mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  mock.method(performance, 'now', () => Date.now())
  mock.method(Math, 'random', () => random)
  globalThis.addEventListener = page.addEventListener.bind(page)
  globalThis.removeEventListener = page.removeEventListener.bind(page)
})

afterEach(() => {
  for (const hub of hubs.splice(0)) hub.close()
  mock.timers.reset()
  mock.restoreAll()
})

async function pass(ms) {
  mock.timers.tick(ms)
  await settled()
}

/** Lets time pass in small steps, as timers do not see each other in one. */
async function passSlowly(ms) {
  for (let left = ms; left > 0; left -= 100) await pass(Math.min(left, 100))
}

async function open(options) {
  const hub = new Hub('ws://hub/notification', { WebSocket: Socket, ...options })
  hubs.push(hub)
  hub.log = { state: [], error: [], gap: [], event: [] }
  for (const name of Object.keys(hub.log)) hub.on(name, (detail) => hub.log[name].push(detail))
  await settled()
  return hub
}

/** A hub that is online, with these topics and the answers to them. */
async function online(options, topics = {}) {
  const hub = await open(options)
  const heard = []
  for (const topic of Object.keys(topics)) hub.subscribe(topic, (data) => heard.push(data))
  Socket.last.welcome()
  if (Object.keys(topics).length > 0) Socket.last.resumed(topics)
  await settled()
  assert.equal(hub.state, 'online')
  return Object.assign(hub, { heard })
}

/** Lets the connection break, and returns the next one. */
async function comeBack(hub, code) {
  const before = Socket.all.length
  Socket.last.drop(code)
  await pass(hub.log.state.at(-1).retryIn)
  assert.equal(Socket.all.length, before + 1)
  return Socket.last
}

const event = (topic, data, position) => ({ type: 'event', topic, data, position })

test('delays have full jitter, double, and are bounded', async () => {
  for (const r of [0, 0.25, 0.9999]) {
    random = r
    const hub = await open()
    const delays = []
    for (let i = 0; i < 12; i++) {
      Socket.last.drop()
      delays.push(hub.log.state.at(-1).retryIn)
      await pass(delays.at(-1))
    }
    assert.deepEqual(delays, Array.from({ length: 12 }, (_, i) => Math.ceil(r * Math.min(30_000, 1000 * 2 ** i))))
    hub.close()
  }
})

test('a hub that lets in and closes at once is not asked twice a second for ever', async () => {
  for (const play of [
    (s) => s.drop(),
    (s) => (s.welcome(), s.drop()),
    (s) => (s.welcome(), s.say({ type: 'goodbye', after_ms: 0 }), s.drop(1012)),
    (s) => s.drop(4001),
    (s) => s.drop(1013),
  ]) {
    const hub = await open({ token: () => 'jwt' })
    Socket.all.splice(0, Socket.all.length - 1)
    for (let seen = 0, ms = 0; ms < 300_000; ms += 100, await pass(100)) {
      for (; seen < Socket.all.length; seen++) play(Socket.all[seen])
    }
    assert.ok(Socket.all.length <= 30 && Socket.all.length >= 10, `${Socket.all.length} connections in 5 minutes: ${play}`)
    hub.close()
  }
})

test('a connection that lasted begins the delays anew', async () => {
  const hub = await online()
  for (let i = 0; i < 4; i++) await comeBack(hub)
  Socket.last.welcome()
  Socket.last.resumed({})
  await pass(10_001)
  Socket.last.drop()
  assert.equal(hub.log.state.at(-1).retryIn, 500)
})

test('the time that goodbye gives is kept', async () => {
  const hub = await online()
  await pass(11_000)
  Socket.last.say({ type: 'goodbye', after_ms: 18_342, reason: 'drain' })
  Socket.last.drop(1012)
  assert.equal(hub.log.state.at(-1).retryIn, 18_342)
})

test('close codes end for good or not, as the protocol has it', async () => {
  const forGood = [1002, 1003, 1007, 4003, 4009]
  for (const code of [1000, 1001, 1005, 1006, 1008, 1011, 1012, 1013, 4001, 4002, 4008, 4029, 4030, ...forGood]) {
    const hub = await online({ token: () => 'jwt' })
    await pass(11_000)
    Socket.last.drop(code)
    const last = hub.log.state.at(-1)
    assert.equal(last.state, forGood.includes(code) ? 'closed' : 'waiting', `${code}`)
    assert.equal(last.code, code === 1005 || code === 1006 ? 0 : code)
    if ([1013, 4029, 4030].includes(code)) assert.ok(last.retryIn >= 5000, `${code} after ${last.retryIn}`)
    hub.close()
  }
})

test('without a way to another token a refused one ends for good', async () => {
  for (const token of ['jwt', undefined])
    for (const code of [4001, 4002]) {
      const hub = await open({ token })
      Socket.last.drop(code)
      assert.equal(hub.state, 'closed')
    }
})

test('the reason of an end names its cause', async () => {
  const reasons = async (code, reason, welcomed, token) => {
    const hub = await open({ token })
    if (welcomed) Socket.last.welcome({ token: undefined })
    Socket.last.drop(code, reason)
    return hub.log.state.at(-1).reason
  }
  assert.match(await reasons(1006, '', false), /^no connection: .*handshake/)
  assert.equal(await reasons(1006, '', true), 'the connection broke')
  assert.equal(await reasons(4002, 'token expired', false, 'jwt'), 'the token is not accepted: token expired')
})

test('a token that is none is told without a connection, and not shown', async () => {
  for (const token of [{ token: 'jwt' }, 'jwt\n', '<!doctype html>']) {
    const hub = await open({ token: () => token })
    assert.match(hub.log.error[0].message, /^the token is no JWT/)
    assert.ok(!hub.log.error[0].message.includes('doctype'))
    assert.equal(Socket.all.length, 0)
    hub.close()
  }
})

test('a topic that is refused when the connection begins is named with the code', async () => {
  const hub = await online({}, { news: { error: 'forbidden', retry: false }, sport: {} })
  await comeBack(hub)
  Socket.last.welcome()
  Socket.last.resumed({ sport: { error: 'forbidden', retry: false } })
  assert.deepEqual(hub.log.error.map((e) => e.message), [
    'the topic news is not followed: forbidden',
    'the topic sport is not followed any more: forbidden',
  ])
})

test('connect begins anew after the end, from where the topics were left', async () => {
  const hub = await online({}, { news: { recovered: false, position: 'p1' } })
  Socket.last.drop(4003)
  assert.equal(hub.state, 'closed')
  await assert.rejects(hub.publish('news', 1), { code: 'closed' })
  hub.connect()
  await settled()
  Socket.last.welcome()
  assert.deepEqual(Socket.last.take('resume').positions, { news: 'p1' })
})

test('a silent hub is asked, and given up without an answer', async () => {
  const hub = await online()
  const first = Socket.last
  await passSlowly(25_000)
  first.take('ping')
  first.say({ type: 'pong' })
  await passSlowly(25_000)
  first.take('ping')
  await passSlowly(4900)
  assert.equal(hub.state, 'online')
  await passSlowly(100)
  assert.equal(hub.state, 'waiting')
  assert.ok(first.closed)
  assert.match(hub.log.state.at(-1).reason, /silent/)
  first.drop(4003) // what comes late changes nothing
  first.say(event('news', 1))
  assert.equal(hub.state, 'waiting')
})

test('a hub that talks is not asked', async () => {
  await online({}, { news: { recovered: false } })
  for (let i = 0; i < 100; i++) {
    await pass(2000)
    Socket.last.say(event('news', i))
  }
  assert.deepEqual(Socket.last.sent, [])
})

test('a page that slept asks again before it gives up, once', async () => {
  const hub = await online()
  await pass(25_000)
  Socket.last.take('ping')
  await pass(3_600_000)
  Socket.last.take('ping')
  assert.equal(hub.state, 'online')
  await pass(3_600_000)
  assert.equal(hub.state, 'waiting')
})

test('a connection that is never welcomed is given up', async () => {
  const hub = await open()
  await pass(10_000)
  assert.equal(hub.state, 'waiting')
  assert.ok(Socket.last.closed)
})

test('a connection that fails is given up at once, and its code is heard if it has one', async () => {
  const hub = await open()
  Socket.last.onerror({})
  await pass(1)
  assert.deepEqual([hub.state, hub.log.state.at(-1).code], ['waiting', 0])
  await pass(1000)
  Socket.last.onerror({})
  Socket.last.drop(4003)
  await pass(1)
  assert.deepEqual([hub.state, hub.log.state.at(-1).code], ['closed', 4003])
})

test('what is no hub is given up', async () => {
  const hub = await open()
  Socket.last.onmessage({ data: 'hello' })
  assert.equal(hub.state, 'waiting')
})

test('the browser going offline and online has the connection tried', async () => {
  const hub = await online()
  const first = Socket.last
  for (const name of ['offline', 'online']) {
    page.dispatchEvent(new Event(name))
    first.take('ping')
    first.say({ type: 'pong' })
  }
  page.dispatchEvent(new Event('offline'))
  await pass(5000)
  assert.equal(hub.state, 'waiting')
  for (let i = 0; i < 5; i++) await comeBack(hub)
  Socket.last.drop()
  assert.ok(hub.log.state.at(-1).retryIn > 10_000)
  page.dispatchEvent(new Event('online'))
  assert.ok(hub.log.state.at(-1).retryIn <= 1000)
  await pass(1000)
  assert.equal(hub.state, 'connecting')
  hub.close()
  page.dispatchEvent(new Event('online'))
  await pass(1000)
  assert.equal(hub.state, 'closed')
})

test('each connection gets a fresh token, and a failing callback is tried again', async () => {
  let n = 0
  const reasons = []
  const hub = await open({
    token: async ({ reason }) => {
      reasons.push(reason)
      if (++n === 2) throw new Error('login is away')
      return 'jwt' + n
    },
  })
  assert.deepEqual(Socket.last.protocols, ['hub.v1.json', 'bearer.jwt1'])
  Socket.last.drop(4001)
  await passSlowly(2000)
  await passSlowly(2000)
  assert.deepEqual(Socket.last.protocols, ['hub.v1.json', 'bearer.jwt3'])
  assert.deepEqual(reasons, ['connect', 'refused', 'refused'])
  assert.deepEqual(hub.log.error.map((e) => [e.code, e.message]), [['token', 'login is away']])
})

test('a callback that never answers does not stop the client', async () => {
  const hub = await open({ token: () => new Promise(() => {}) })
  await pass(10_000)
  assert.equal(hub.state, 'waiting')
})

test('a token is renewed before its end, at a random time', async () => {
  for (const [r, at] of [[0, 2_700_000], [0.9999, 3_239_900]]) {
    random = r
    let n = 0
    const hub = await open({ token: ({ reason }) => reason + ++n })
    Socket.last.welcome({ expires_in: 3600 })
    const beat = async (ms) => {
      for (; ms > 0; ms -= 20_000) await pass(Math.min(ms, 20_000)), Socket.last.say({ type: 'pong' })
    }
    await beat(at)
    await pass(100)
    const { id, token } = Socket.last.take('auth')
    assert.equal(token, 'refresh2')
    Socket.last.say({ type: 'ok', id, expires_in: 100 })
    await settled()
    await beat(75_000 + r * 15_000)
    await pass(100)
    assert.equal(Socket.last.take('auth').token, 'refresh3')
    hub.close()
  }
})

test('a backend that sets the end of a token anew is heeded', async () => {
  random = 0
  await open({ token: ({ reason }) => reason })
  const beat = async (s) => {
    for (; s > 0; s -= 20) await pass(20_000), Socket.last.say({ type: 'pong' })
  }
  Socket.last.welcome({ expires_in: 400 })
  Socket.last.say({ type: 'expires', expires_in: 4000 })
  await beat(2980)
  assert.deepEqual(Socket.last.sent, [])
  await beat(40)
  assert.equal(Socket.last.take('auth').token, 'refresh')

  await open({ token: ({ reason }) => reason })
  Socket.last.welcome({ expires_in: 400 })
  Socket.last.say({ type: 'expires' })
  await beat(1000)
  assert.deepEqual(Socket.last.sent, [])
})

test('a token that ends in years is renewed in years, though timers hold days only', async () => {
  await open({ token: () => 'jwt' })
  const longest = []
  const timer = globalThis.setTimeout
  mock.method(globalThis, 'setTimeout', (f, ms) => (longest.push(ms), timer(f, ms)))
  Socket.last.welcome({ expires_in: 10 * 365 * 86_400 })
  for (let s = 0; s < 2 * 86_400; s += 20) await pass(20_000), Socket.last.say({ type: 'pong' })
  assert.deepEqual(Socket.last.sent, [])
  assert.ok(Math.max(...longest) < 2 ** 31)
})

test('a hub that says that the token expired gets another one', async () => {
  await open({ token: ({ reason }) => reason })
  Socket.last.welcome()
  Socket.last.say({ type: 'error', code: 'token_expired', message: '' })
  await settled()
  assert.equal(Socket.last.take('auth').token, 'expired')
})

test('a refresh that failed is tried again, whatever the hub says of the old token meanwhile', async () => {
  const answers = ['jwt', new Error('login is away'), 'jwt2']
  const hub = await open({
    token: () => {
      const next = answers.shift()
      if (next instanceof Error) throw next
      return next
    },
  })
  hub.subscribe('news', () => {})
  Socket.last.welcome({ expires_in: 0 })
  await pass(1)
  assert.equal(hub.log.error.length, 1)
  Socket.last.resumed({ news: { recovered: false } }, { expires_in: 0 })
  await passSlowly(2000)
  assert.equal(Socket.last.take('auth').token, 'jwt2')
})

test('closing while a token is fetched makes one connection less', async () => {
  const hub = await open({ token: () => new Promise((resolve) => setTimeout(resolve, 1000, 'jwt')) })
  await pass(500)
  hub.close()
  hub.connect()
  await pass(500)
  assert.equal(Socket.all.length, 0)
  await pass(500)
  assert.equal(Socket.all.length, 1)
})

test('a refresh that fails is tried again, and told', async () => {
  let fail = false
  const hub = await open({
    token: () => {
      if (fail) throw new Error('login is away')
      return 'jwt'
    },
  })
  Socket.last.welcome({ expires_in: 10 })
  fail = true
  await passSlowly(8300)
  assert.equal(hub.log.error.length, 1)
  fail = false
  await passSlowly(1000)
  const { id } = Socket.last.take('auth')
  Socket.last.say({ type: 'error', id, code: 'unavailable', message: 'no keys', retry: true })
  await settled()
  await passSlowly(2000)
  Socket.last.say({ type: 'ok', id: Socket.last.take('auth').id })
  await settled()
  assert.deepEqual(hub.log.error.map((e) => e.code), ['token', 'unavailable'])
})

test('a hub that says that the token expired gets another one, and it is asked for once', async () => {
  const reasons = []
  await open({ token: ({ reason }) => (reasons.push(reason), new Promise((resolve) => setTimeout(resolve, 1000, 'jwt'))) })
  await pass(1000)
  Socket.last.welcome({ expires_in: 0 })
  await pass(1)
  Socket.last.say({ type: 'error', code: 'token_expired', message: '' })
  await pass(1000)
  Socket.last.take('auth')
  assert.deepEqual(Socket.last.sent, [])
  assert.deepEqual(reasons, ['connect', 'refresh'])
})

test('all topics are asked for at once, each with its position', async () => {
  const hub = await open()
  const heard = []
  for (const topic of ['kept', 'raw', 'empty']) hub.subscribe(topic, (data) => heard.push(data))
  hub.subscribe('since', (data) => heard.push(data), { since: 'p0' })
  Socket.last.welcome()
  const { token, positions } = Socket.last.take('resume')
  assert.deepEqual([token, positions], ['fresh', { kept: '', raw: '', empty: '', since: 'p0' }])
  const answers = { kept: { recovered: false, position: 'p1' }, raw: { recovered: false }, empty: { recovered: false }, since: { recovered: true, position: 'p0' } }
  Socket.last.say({ type: 'resumed', id: 'resume', session: 's_1', token: 't1', topics: answers })
  assert.deepEqual(hub.log.gap, [])
  for (const m of [event('kept', 1, 'p2'), event('raw', 2), event('since', 3, 'p9')]) Socket.last.say(m)
  assert.deepEqual(heard, [1, 2, 3])

  const second = await comeBack(hub)
  assert.match(second.url, /\?resume=t1$/)
  second.welcome({ session: 's_2' })
  const again = second.take('resume')
  assert.deepEqual([again.token, again.positions], ['t1', { kept: 'p2', raw: '0', empty: '0', since: 'p9' }])
  second.say({ type: 'resumed', id: 'resume', session: 's_1', token: 't2', topics: {
    kept: { recovered: true, position: 'p2' }, raw: { recovered: false }, empty: { recovered: true, position: '0' }, since: { recovered: false, position: 'q1' } } })
  assert.deepEqual(hub.log.gap, [{ topic: 'raw', position: undefined, reason: 'return' }, { topic: 'since', position: 'q1', reason: 'return' }])
  assert.equal(hub.session, 's_1')
})

test('an old session that is refused gives way to a new one', async () => {
  const hub = await online({}, { news: { recovered: false, position: 'p1' } })
  const second = await comeBack(hub)
  second.welcome({ session: 's_2', token: 'fresh2' })
  assert.equal(second.take('resume').token, 'next')
  second.say({ type: 'error', id: 'resume', code: 'bad_token', message: 'too old', retry: false })
  const again = second.take('resume')
  assert.deepEqual([again.token, again.positions], ['fresh2', { news: 'p1' }])
  second.say({ type: 'error', id: 'resume', code: 'too_many_topics', message: '', retry: false })
  await settled()
  const { id, since } = second.take('subscribe')
  assert.equal(since, 'p1')
  second.say({ type: 'subscribed', id, topic: 'news', position: 'p5', recovered: false })
  await settled()
  assert.deepEqual(hub.log.gap, [{ topic: 'news', position: 'p5', reason: 'return' }])
  const third = await comeBack(hub)
  assert.match(third.url, /\?resume=fresh2$/)
})

test('a new session that can not be resumed is used as it is', async () => {
  const hub = await open()
  hub.subscribe('news', () => {})
  Socket.last.welcome()
  Socket.last.take('resume')
  Socket.last.say({ type: 'error', id: 'resume', code: 'bad_token', message: '', retry: false })
  assert.deepEqual(Socket.last.sent.map((m) => m.type), ['subscribe'])
  assert.equal(hub.state, 'online')
})

test('a subscription that breaks is asked for by the resume alone', async () => {
  const hub = await online()
  hub.subscribe('news', () => {})
  Socket.last.take('subscribe')
  const second = await comeBack(hub)
  second.welcome()
  second.resumed({ news: { recovered: false } })
  assert.deepEqual(second.sent, [])
})

test('topics that were not followed yet are kept over close and connect', async () => {
  const hub = await online()
  hub.subscribe('news', () => {})
  hub.close()
  hub.connect()
  await settled()
  Socket.last.welcome()
  assert.deepEqual(Socket.last.take('resume').positions, { news: '' })
})

test('a topic that is left before it was asked for is not asked for', async () => {
  const hub = await online()
  const all = Array.from({ length: 40 }, (_, i) => hub.subscribe('t' + i, () => {}))
  all[39].unsubscribe()
  Socket.last.take('unsubscribe')
  const first = Socket.last.sent.splice(0)
  assert.equal(first.length, 32)
  for (const m of first) Socket.last.say({ type: 'subscribed', id: m.id, topic: m.topic })
  assert.deepEqual(Socket.last.sent.map((m) => m.topic), ['t32', 't33', 't34', 't35', 't36', 't37', 't38'])
})

test('of very many topics those that fit into one message are resumed, and the others subscribed to, a few at a time', async () => {
  const hub = await open()
  const names = Array.from({ length: 300 }, (_, i) => 'x'.repeat(200) + i)
  for (const name of names) hub.subscribe(name, () => {})
  Socket.last.welcome()
  const resume = Socket.last.take('resume')
  assert.ok(JSON.stringify(resume).length < 40_000)
  const named = Object.keys(resume.positions)
  Socket.last.say({ type: 'resumed', id: 'resume', session: 's_1', token: 't', topics: Object.fromEntries(named.map((n) => [n, { recovered: false }])) })
  const got = new Set(named)
  while (got.size < 300) {
    assert.ok(Socket.last.sent.length > 0 && Socket.last.sent.length <= 32)
    for (const m of Socket.last.sent.splice(0)) {
      got.add(m.topic)
      Socket.last.say({ type: 'subscribed', id: m.id, topic: m.topic })
    }
  }
  await settled()
  assert.equal(hub.log.error.length, 0)
})

test('a topic may have any name', async () => {
  const hub = await open()
  const heard = []
  for (const name of ['__proto__', 'constructor', 'a"b']) hub.subscribe(name, (data) => heard.push(data))
  Socket.last.welcome()
  const { positions } = Socket.last.take('resume')
  assert.deepEqual(Object.keys(positions), ['__proto__', 'constructor', 'a"b'])
  Socket.last.onmessage({ data: '{"type":"resumed","id":"resume","session":"s_1","token":"t","topics":{"__proto__":{"recovered":false}}}' })
  Socket.last.say(event('__proto__', 1))
  assert.deepEqual(heard, [1])
})

test('a hub that takes small messages only gets a small resume', async () => {
  const hub = await open()
  for (let i = 0; i < 100; i++) hub.subscribe('x'.repeat(200) + i, () => {})
  for (const most of [40_000, 20_000, 10_000, 5_000]) {
    Socket.last.welcome()
    const size = JSON.stringify(Socket.last.take('resume')).length
    assert.ok(size < most && (most > 30_000 || size > most / 4), `${size}`)
    await comeBack(hub, 1009)
  }
})

test('a topic that is refused for a while is asked for again, and one that is refused for good is told', async () => {
  const hub = await online()
  const busy = hub.subscribe('busy', () => {})
  const errors = []
  const secret = hub.subscribe('secret', () => {}, { onError: (e) => errors.push(e.code) })
  for (const code of ['rate_limited', 'forbidden']) Socket.last.say({ type: 'error', id: Socket.last.take('subscribe').id, code, message: '', retry: code === 'rate_limited' })
  await assert.rejects(secret.ready, HubError)
  assert.deepEqual(errors, ['forbidden'])
  await passSlowly(2000)
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'busy' })
  await busy.ready
  assert.ok(busy.live)
})

test('an event right behind the answer is heard', async () => {
  const hub = await online()
  const heard = []
  hub.subscribe('news', (data) => heard.push(data))
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'news', position: 'p1' })
  Socket.last.say(event('news', 1, 'p2'))
  assert.deepEqual(heard, [1])
})

test('a topic that the hub ends is told, and not asked for again', async () => {
  const hub = await online({}, { news: { recovered: false } })
  Socket.last.say({ type: 'error', code: 'unsubscribed', message: 'the topic news is not followed any more', topic: 'news' })
  assert.deepEqual(hub.log.error.map((e) => [e.code, e.topic]), [['unsubscribed', 'news']])
  const second = await comeBack(hub)
  second.welcome()
  assert.deepEqual(second.take('resume').positions, {})
})

test('the end of a topic that was left and asked for again meanwhile does not end what was asked for', async () => {
  const hub = await online({}, { news: {} })
  const heard = []
  hub.subscribe('room', () => {}).unsubscribe()
  const s = hub.subscribe('room', (data) => heard.push(data))
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'room', position: 'p1' })
  Socket.last.say({ type: 'error', code: 'unsubscribed', message: 'the topic room is not followed any more', topic: 'room' })
  Socket.last.say({ type: 'ok', id: Socket.last.take('unsubscribe').id, topic: 'room' })
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'room', position: 'p2' })
  Socket.last.say(event('room', 1, 'p3'))
  assert.deepEqual([heard, s.live, hub.log.error], [[1], true, []])
})

test('several subscriptions share a topic, and the last one leaves it', async () => {
  const hub = await online()
  const heard = []
  const a = hub.subscribe('news', (data) => heard.push('a' + data))
  const b = hub.subscribe('news', (data) => heard.push('b' + data))
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'news', position: 'p1' })
  await b.ready
  assert.throws(() => hub.subscribe('news', () => {}, { since: 'p1' }), { code: 'already_subscribed' })
  Socket.last.say(event('news', 1, 'p2'))
  a.unsubscribe()
  a.unsubscribe()
  Socket.last.say(event('news', 2, 'p3'))
  assert.equal(b.position, 'p3')
  assert.deepEqual(Socket.last.sent, [])
  b.unsubscribe()
  Socket.last.take('unsubscribe')
  Socket.last.say(event('news', 3, 'p4'))
  assert.deepEqual(heard, ['a1', 'b1', 'b2'])
})

test('a topic that is left and followed again does not hear what was on its way', async () => {
  const hub = await online()
  const heard = []
  hub.subscribe('news', (data) => heard.push('old' + data)).unsubscribe()
  hub.subscribe('news', (data) => heard.push('new' + data))
  await settled()
  const [first, leave, second] = [Socket.last.take('subscribe'), Socket.last.take('unsubscribe'), Socket.last.take('subscribe')]
  Socket.last.say(event('news', 1))
  Socket.last.say({ type: 'error', id: first.id, code: 'not_subscribed', message: 'it was left', retry: false })
  Socket.last.say({ type: 'ok', id: leave.id })
  Socket.last.say({ type: 'subscribed', id: second.id, topic: 'news' })
  await settled()
  Socket.last.say(event('news', 2))
  assert.deepEqual(heard, ['new2'])
})

test('a topic that is left while the resume is under way is left at the hub, too', async () => {
  const hub = await open()
  const s = hub.subscribe('news', () => {})
  Socket.last.welcome()
  s.unsubscribe()
  Socket.last.resumed({ news: { recovered: false } })
  assert.equal(Socket.last.take('unsubscribe').topic, 'news')
})

test('topics that the hub follows by itself are heard and resumed', async () => {
  const hub = await online()
  Socket.last.say({ type: 'subscribed', topic: 'user:42', position: 'p1' })
  Socket.last.say(event('user:42', 1, 'p2'))
  assert.deepEqual(hub.log.event, [{ topic: 'user:42', data: 1, position: 'p2' }])
  const heard = []
  await hub.subscribe('user:42', (data) => heard.push(data)).ready
  Socket.last.say(event('user:42', 2, 'p3'))
  assert.deepEqual(heard, [2])
  assert.deepEqual(Socket.last.sent, [])
  const second = await comeBack(hub)
  second.welcome()
  assert.deepEqual(second.take('resume').positions, { 'user:42': 'p3' })
})

test('who subscribes as soon as it is online asks once', async () => {
  const hub = await open()
  hub.on('state', ({ state }) => state === 'online' && hub.subscribe('news', () => {}, { since: 'p1' }))
  Socket.last.welcome()
  const { id } = Socket.last.take('subscribe')
  assert.deepEqual(Socket.last.sent, [])
  Socket.last.say({ type: 'subscribed', id, topic: 'news', position: 'p9', recovered: false })
  assert.deepEqual(hub.log.gap, [{ topic: 'news', position: 'p9', reason: 'return' }])
})

test('who ends the connection as soon as it is online asks for nothing', async () => {
  const hub = await open()
  hub.on('state', ({ state }) => state === 'online' && hub.close())
  hub.subscribe('news', () => {})
  Socket.last.welcome()
  Socket.last.resumed({ news: { error: 'busy', retry: true } })
  assert.deepEqual(Socket.last.sent, [])
  assert.equal(hub.state, 'closed')
})

test('a handler that begins anew at a gap is called once, whoever else follows the topic', async () => {
  const hub = await online({}, { news: {} }) // which follows it, too
  let calls = 0
  const begin = () => {
    const s = hub.subscribe('news', () => {}, { onGap: () => (s.unsubscribe(), ++calls < 10 && begin()) })
  }
  begin()
  Socket.last.say({ type: 'gap', topic: 'news', position: 'p7' })
  assert.equal(calls, 1)
  Socket.last.say({ type: 'gap', topic: 'news', position: 'p8' })
  assert.equal(calls, 2)
})

test('what a handler begins does not hear the event that it was called for, and what it ends does not either', async () => {
  const hub = await online({}, { news: {} })
  const heard = []
  hub.subscribe('news', (data) => {
    heard.push('a' + data)
    if (data === 1) hub.subscribe('news', (data) => heard.push('c' + data))
    b.unsubscribe()
  })
  const b = hub.subscribe('news', (data) => heard.push('b' + data))
  Socket.last.say(event('news', 1))
  Socket.last.say(event('news', 2))
  assert.deepEqual(heard, ['a1', 'a2', 'c2'])
})

test('a topic that is left at the gap of its return is left at the hub, too', async () => {
  const hub = await open()
  const s = hub.subscribe('news', () => {}, { since: 'p1', onGap: () => s.unsubscribe() })
  Socket.last.welcome()
  Socket.last.resumed({ news: { recovered: false, position: 'p9' } })
  assert.equal(Socket.last.take('unsubscribe').topic, 'news')
  assert.deepEqual(Socket.last.sent, [])
})

test('subscriptions leave their room to publications', async () => {
  const hub = await online()
  for (let i = 0; i < 300; i++) hub.subscribe('t' + i, () => {})
  const published = hub.publish('chat', 1)
  for (let m; (m = Socket.last.sent.shift()); ) Socket.last.say({ type: m.type === 'publish' ? 'ok' : 'subscribed', id: m.id, topic: m.topic, position: 'p1' })
  assert.deepEqual(await published, { position: 'p1' })
})

test('a topic that is left and followed anew while the resume is under way begins where the new one says', async () => {
  const hub = await open()
  const s = hub.subscribe('news', () => {}, { since: 'p5' })
  Socket.last.welcome()
  s.unsubscribe()
  const heard = []
  const again = hub.subscribe('news', (data) => heard.push(data), { since: 'p1' })
  Socket.last.resumed({ news: { recovered: true, position: 'p5' } })
  Socket.last.say(event('news', 6, 'p6'))
  assert.deepEqual(Socket.last.sent.map((m) => [m.type, m.topic, m.since]), [['unsubscribe', 'news', undefined], ['subscribe', 'news', 'p1']])
  assert.equal(again.live, false)
  assert.deepEqual(heard, [])
})

test('who asks for what the hub begins to follow at the same moment is told of what was missed', async () => {
  for (const first of ['announced', 'refused']) {
    const hub = await online()
    const gaps = []
    hub.subscribe('user:42', () => {}, { since: 'p1', onGap: (gap) => gaps.push(gap) })
    const announce = () => Socket.last.say({ type: 'subscribed', topic: 'user:42', position: 'p7' })
    if (first === 'announced') announce()
    Socket.last.say({ type: 'error', id: Socket.last.take('subscribe').id, code: 'already_subscribed', message: '', retry: false })
    if (first === 'refused') announce()
    await settled()
    assert.deepEqual(gaps, [{ topic: 'user:42', position: 'p7', reason: 'return' }], first)
  }
})

test('a topic that the hub follows before a resume names it is heard from where the resume says, each event once', async () => {
  const hub = await open()
  const heard = []
  hub.subscribe('user:42', (data) => heard.push(data), { since: 'p1' })
  Socket.last.welcome()
  Socket.last.say({ type: 'subscribed', topic: 'user:42', position: 'p2' })
  Socket.last.say(event('user:42', 3, 'p3'))
  Socket.last.resumed({ 'user:42': { recovered: true, position: 'p1' } })
  for (const n of [2, 3, 4]) Socket.last.say(event('user:42', n, 'p' + n))
  assert.deepEqual(heard, [2, 3, 4])
  assert.deepEqual(hub.log.gap, [])
})

test('a handler that ends the connection while what resumed is told ends that, too', async () => {
  const hub = await open()
  const first = hub.subscribe('a', () => {}, { since: 'p1', onGap: () => hub.close() })
  const second = hub.subscribe('b', () => {}, { since: 'p1' })
  Socket.last.welcome()
  Socket.last.resumed({ a: { recovered: false, position: 'p9' }, b: { recovered: false, position: 'p9' } })
  assert.equal(hub.state, 'closed')
  assert.deepEqual([first.live, second.live], [false, false])
  assert.deepEqual(hub.log.gap.map((gap) => gap.topic), ['a'])
})

test('a topic that was left is not followed before the hub says so again', async () => {
  const hub = await online()
  const answer = (m) => Socket.last.say({ topic: 'room', position: 'p1', id: Socket.last.take(m.of).id, ...m })
  for (const leave of ['unsubscribed', 'refused']) {
    const first = hub.subscribe('room', () => {})
    answer({ of: 'subscribe', type: 'subscribed' })
    first.unsubscribe()
    if (leave === 'unsubscribed') answer({ of: 'unsubscribe', type: 'ok' })
    else Socket.last.say({ type: 'error', code: 'forbidden', message: '', topic: 'room' })
    const second = hub.subscribe('room', () => {})
    answer({ of: 'subscribe', type: 'error', code: 'already_subscribed', message: '' }) // by a backend's order, which is under way
    assert.equal(second.live, false, leave)
    Socket.last.say({ type: 'subscribed', topic: 'room', position: 'p7' })
    assert.equal(second.live, true, leave)
    assert.deepEqual(hub.log.gap, [], leave)
    second.unsubscribe()
    Socket.last.sent = []
  }
})

test('a topic that the hub was about to follow and did not is asked for again', async () => {
  const hub = await online()
  const s = hub.subscribe('room', () => {})
  Socket.last.say({ type: 'error', id: Socket.last.take('subscribe').id, code: 'already_subscribed', message: '' })
  await passSlowly(2000) // a backend has taken its order back
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'room', position: 'p1' })
  await s.ready
  assert.deepEqual(hub.log.gap, [])
})

test('who wants to watch what the hub follows by itself is told that it does not, whichever comes first', async () => {
  const hub = await online()
  const s = watching(hub, 'user:42')
  const { id } = Socket.last.take('subscribe')
  Socket.last.say({ type: 'subscribed', topic: 'user:42' })
  Socket.last.say({ type: 'error', id, code: 'already_subscribed', message: 'followed' })
  assert.deepEqual([s.live, hub.log.error.map((e) => e.code)], [true, ['already_subscribed']])
})

test('what a handler asks for as it connects again waits for the new connection', async () => {
  const hub = await online()
  let published
  hub.on('state', ({ state }) => {
    if (state !== 'closed' || published) return
    hub.connect()
    published = hub.publish('chat', 1)
    published.catch(() => {})
  })
  const before = hub.publish('chat', 0)
  hub.close()
  await assert.rejects(before, { code: 'unknown_outcome' })
  await settled()
  Socket.last.welcome()
  Socket.last.resumed({})
  const { id, data } = Socket.last.take('publish')
  assert.equal(data, 1)
  Socket.last.say({ type: 'ok', id, position: 'p1' })
  assert.deepEqual(await published, { position: 'p1' })
})

test('what the hub follows by itself is no gap where the client left off there, and is one elsewhere', async () => {
  for (const [position, recovered, gaps] of [['p1', undefined, 0], ['p1', true, 0], ['p5', true, 1], ['p5', false, 1]]) {
    const hub = await online()
    hub.subscribe('room', () => {}, { since: 'p1' })
    Socket.last.say({ type: 'subscribed', topic: 'room', position, recovered }) // recovered is of where a backend said
    assert.equal(hub.log.gap.length, gaps, `${position} ${recovered}`)
  }
})

test('who asks for what the hub follows already hears it', async () => {
  const hub = await online()
  const heard = []
  const s = hub.subscribe('user:42', (data) => heard.push(data))
  Socket.last.say({ type: 'error', id: Socket.last.take('subscribe').id, code: 'already_subscribed', message: '', retry: false })
  await settled()
  assert.equal(s.live, false) // the hub is about to follow it
  Socket.last.say({ type: 'subscribed', topic: 'user:42', position: 'p0' })
  await s.ready
  Socket.last.say(event('user:42', 1, 'p1'))
  assert.deepEqual(heard, [1])
  assert.deepEqual(hub.log.gap, [])
  s.unsubscribe()
  Socket.last.say({ type: 'error', id: Socket.last.take('unsubscribe').id, code: 'forbidden', message: 'it is its own', retry: false })
  const again = hub.subscribe('user:42', (data) => heard.push(data))
  Socket.last.say({ type: 'error', id: Socket.last.take('subscribe').id, code: 'already_subscribed', message: '', retry: false })
  await again.ready
  Socket.last.say(event('user:42', 2, 'p2'))
  assert.deepEqual(heard, [1, 2])
  assert.deepEqual(hub.log.gap, [])
})

test('a gap is told with its position', async () => {
  const hub = await online({}, { news: { recovered: false, position: 'p1' } })
  Socket.last.say({ type: 'gap', topic: 'news', position: 'p7' })
  assert.deepEqual(hub.log.gap, [{ topic: 'news', position: 'p7', reason: 'live' }])
  const second = await comeBack(hub)
  second.welcome()
  assert.deepEqual(second.take('resume').positions, { news: 'p7' })
})

test('a handler that fails is told, and disturbs nobody', async () => {
  const hub = await online()
  const heard = []
  hub.subscribe('news', () => {
    throw new Error('mine')
  })
  hub.subscribe('news', (data) => heard.push(data))
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'news' })
  await settled()
  Socket.last.say(event('news', 1))
  assert.deepEqual(heard, [1])
  assert.deepEqual(hub.log.error.map((e) => [e.code, e.message]), [['handler', 'mine']])
})

test('what was published without an answer is published again with its key', async () => {
  const hub = await online()
  const done = hub.publish('chat', { text: 'hello' })
  const { key } = Socket.last.take('publish')
  assert.match(key, /^[0-9a-f]{32}$/)
  const second = await comeBack(hub)
  second.welcome({ session: 's_2' })
  second.resumed({})
  const again = second.take('publish')
  assert.deepEqual([again.key, again.data], [key, { text: 'hello' }])
  second.say({ type: 'error', id: again.id, code: 'unknown_outcome', message: '', retry: true })
  await passSlowly(2000)
  const third = second.take('publish')
  assert.equal(third.key, key)
  second.say({ type: 'ok', id: third.id, position: 'p1' })
  assert.deepEqual(await done, { position: 'p1' })
})

test('a key of another session says nothing: the outcome is unknown', async () => {
  const hub = await online()
  const done = hub.publish('chat', 1)
  Socket.last.take('publish')
  const second = await comeBack(hub)
  second.welcome({ session: 's_2', token: 'fresh2' })
  second.take('resume')
  second.say({ type: 'error', id: 'resume', code: 'bad_token', message: '', retry: false })
  second.resumed({}, { session: 's_2' })
  await assert.rejects(done, { code: 'unknown_outcome' })
  assert.deepEqual(second.sent, [])
})

test('a key of the same user is good in another session', async () => {
  const hub = await open()
  Socket.last.welcome({ user: '42' })
  const done = hub.publish('chat', 1)
  Socket.last.take('publish')
  const second = await comeBack(hub)
  second.welcome({ session: 's_2', user: '42', token: 'fresh2' })
  second.take('resume')
  second.say({ type: 'error', id: 'resume', code: 'bad_token', message: '', retry: false })
  second.resumed({}, { session: 's_2' })
  second.say({ type: 'ok', id: second.take('publish').id })
  await done
})

test('requests wait while the client is away, up to a bound, in order', async () => {
  const hub = await open({ maxQueued: 3 })
  const all = [1, 2, 3].map((n) => hub.publish('chat', n))
  await assert.rejects(hub.publish('chat', 4), { code: 'queue_full' })
  Socket.last.welcome()
  await settled()
  assert.deepEqual(Socket.last.sent.map((m) => m.data), [1, 2, 3])
  for (const m of Socket.last.sent.splice(0)) Socket.last.say({ type: 'ok', id: m.id })
  await Promise.all(all)
  await Promise.all([hub.publish('chat', 5), settled().then(() => Socket.last.say({ type: 'ok', id: Socket.last.take('publish').id }))])
})

test('what waits is bounded in size, too', async () => {
  const hub = await open({ maxQueuedBytes: 1000 })
  const first = hub.publish('chat', 'x'.repeat(1000))
  await assert.rejects(hub.publish('chat', 1), { code: 'queue_full' })
  hub.close()
  await assert.rejects(first, { code: 'closed' })
  hub.connect()
  await settled()
  Socket.last.welcome()
  for (let i = 0; i < 5; i++) {
    const done = hub.publish('chat', 'x'.repeat(500))
    Socket.last.say({ type: 'ok', id: Socket.last.take('publish').id })
    await done
  }
})

test('a request that is not answered in time is rejected, and says whether it was sent', async () => {
  const hub = await open({ timeout: 2000 })
  const rejected = assert.rejects(hub.publish('chat', 1), { code: 'timeout' })
  await pass(2000)
  await rejected
  Socket.last.welcome()
  const late = [assert.rejects(hub.publish('chat', 2), { code: 'unknown_outcome' }), assert.rejects(hub.history('chat'), { code: 'timeout' })]
  await settled()
  assert.deepEqual(Socket.last.sent.map((m) => m.type), ['publish', 'history'])
  await pass(2000)
  await Promise.all(late)
})

test('a message that is too large for the hub is not sent for ever', async () => {
  const hub = await online()
  const small = hub.publish('chat', 'small')
  const large = assert.rejects(hub.publish('chat', 'large'.repeat(100)), { code: 'too_large' })
  const second = await comeBack(hub, 1009)
  await large
  second.welcome()
  second.resumed({})
  second.say({ type: 'ok', id: second.take('publish').id })
  await small
  assert.deepEqual(second.sent, [])
})

test('refusals of a request are its own', async () => {
  const hub = await online()
  const no = assert.rejects(hub.publish('secret', 1), { name: 'HubError', code: 'forbidden', message: 'not for you' })
  Socket.last.say({ type: 'error', id: Socket.last.take('publish').id, code: 'forbidden', message: 'not for you', retry: false })
  await no
  await assert.rejects(hub.publish('chat', undefined), { code: 'bad_request' })
  assert.deepEqual(hub.log.error, [])
})

test('history comes in pages', async () => {
  const hub = await online()
  const seen = []
  const reading = (async () => {
    for await (const page of hub.pages('news', { since: 'p0', limit: 2 })) seen.push(...page.events.map((e) => e.data))
  })()
  for (const [since, events, position, more] of [['p0', [1, 2], 'p2', true], ['p2', [3], 'p3', undefined]]) {
    await settled()
    const m = Socket.last.take('history')
    assert.deepEqual([m.since, m.limit], [since, 2])
    Socket.last.say({ type: 'history', id: m.id, topic: 'news', events: events.map((data) => ({ position: 'p', data })), position, recovered: true, more })
  }
  await reading
  assert.deepEqual(seen, [1, 2, 3])
})

test('close ends all, also from within a handler', async () => {
  const hub = await open()
  const off = hub.on('state', ({ state }) => state === 'online' && hub.close())
  hub.subscribe('late', () => {})
  const waiting = assert.rejects(hub.publish('chat', 1), { code: 'closed' })
  Socket.last.welcome()
  Socket.last.resumed({ late: { error: 'busy', retry: true } })
  await waiting
  await pass(100_000)
  assert.equal(Socket.all.length, 1)
  assert.ok(Socket.last.closed)
  assert.deepEqual(Socket.last.sent, [])
  off()
  hub.connect()
  await settled()
  Socket.last.welcome()
  Socket.last.resumed({ late: { recovered: false } })
  assert.deepEqual(Socket.last.sent, [])
})

test('close in a handler of a gap ends all, too', async () => {
  const hub = await online({}, { news: { recovered: false, position: 'p1' } })
  hub.on('gap', () => hub.close())
  const second = await comeBack(hub)
  second.welcome()
  second.resumed({ news: { recovered: false, position: 'p5' } })
  assert.equal(hub.state, 'closed')
  assert.deepEqual(second.sent, [])
})

test('a bad address is an error at once, a bad token is told', async () => {
  assert.throws(() => new Hub('nonsense', { WebSocket: Socket }), TypeError)
  Socket.refuse = new SyntaxError('no token')
  const hub = await open({ token: 'jwt' })
  assert.deepEqual([hub.state, hub.log.error.length], ['waiting', 1])
  Socket.refuse = undefined
  await pass(1000)
  new Hub('https://hub.example/n', { WebSocket: Socket }).close()
  assert.equal(hub.state, 'connecting')
})

test('ready rejects when the connection ends for good, and connect gives another chance', async () => {
  const hub = await open()
  const early = hub.subscribe('early', () => {})
  const rejected = assert.rejects(early.ready, { code: 'closed', message: /a backend disconnected/ })
  Socket.last.drop(4003)
  await rejected
  const late = hub.subscribe('late', () => {})
  await assert.rejects(late.ready, { code: 'closed' })
  hub.connect()
  await settled()
  Socket.last.welcome()
  Socket.last.resumed({ early: {}, late: {} })
  await Promise.all([early.ready, late.ready])
  hub.close()
  await early.ready // it was followed

  const other = await open()
  const s = other.subscribe('news', () => {})
  const closed = s.ready
  other.on('state', ({ state }) => state === 'closed' && other.connect())
  Socket.last.drop(4003)
  await assert.rejects(closed, { code: 'closed' })
  await settled()
  Socket.last.welcome()
  Socket.last.resumed({ news: {} })
  await s.ready
})

// Presence.

const ann = { session: 's_a', user: 'ann', info: { name: 'Ann' }, since: 1 }
const bob = { session: 's_b', user: 'bob', since: 2 }

/** A subscription that watches room, and all that it was told: clients, users, sessions, and the change. */
function watching(hub, topic = 'room', options) {
  const told = []
  const onPresence = ({ clients, users, members }, change) => told.push([clients, users, members && [...members.keys()].join(), change?.type])
  return Object.assign(hub.subscribe(topic, () => {}, { onPresence, ...options }), { told })
}

test('who is there: all at first, then who joins and leaves', async () => {
  const hub = await online()
  const changes = []
  const s = watching(hub)
  hub.subscribe('room', () => {}, { onPresence: (_, change) => changes.push(change) })
  const m = Socket.last.take('subscribe')
  assert.equal(m.presence, true)
  assert.equal(s.presence, undefined)
  Socket.last.say({ type: 'subscribed', id: m.id, topic: 'room', clients: 1, users: 1, members: [ann] })
  Socket.last.say({ type: 'joined', topic: 'room', ...bob, first: true })
  Socket.last.say({ type: 'joined', topic: 'room', ...bob, session: 's_b2' })
  await s.ready
  assert.deepEqual(s.presence, { clients: 3, users: 2, members: new Map([['s_a', ann], ['s_b', bob], ['s_b2', { ...bob, session: 's_b2' }]]) })
  Socket.last.say({ type: 'left', topic: 'room', ...bob })
  Socket.last.say({ type: 'left', topic: 'room', ...bob, session: 's_b2', last: true })
  Socket.last.say({ type: 'joined', topic: 'other', ...bob })
  assert.deepEqual(s.told, [
    [1, 1, 's_a', undefined],
    [2, 2, 's_a,s_b', 'joined'],
    [3, 2, 's_a,s_b,s_b2', 'joined'],
    [2, 2, 's_a,s_b2', 'left'],
    [1, 1, 's_a', 'left'],
  ])
  assert.deepEqual(changes[1], { type: 'joined', member: bob, first: true, last: false })
  assert.deepEqual(changes[4], { type: 'left', member: { ...bob, session: 's_b2' }, first: false, last: true })
})

test('a presence that is too large, or changes too fast, is told as counts', async () => {
  const hub = await online()
  const s = watching(hub)
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'room', clients: 2000, users: 9 })
  Socket.last.say({ type: 'joined', topic: 'room', ...bob, first: true })
  Socket.last.say({ type: 'presence', topic: 'room', clients: 2, users: 2, members: [ann, bob] })
  Socket.last.say({ type: 'presence_stats', topic: 'room', clients: 3000, users: 10 })
  assert.deepEqual(s.told, [
    [2000, 9, undefined, undefined],
    [2001, 10, undefined, 'joined'],
    [2, 2, 's_a,s_b', undefined],
    [3000, 10, undefined, undefined],
  ])
})

test('a presence is watched again behind a break, and told as a whole', async () => {
  const hub = await open()
  const s = watching(hub)
  hub.subscribe('news', () => {})
  for (const members of [[ann, bob], [ann]]) {
    Socket.last.welcome()
    assert.deepEqual(Socket.last.sent.at(-1).presence, ['room'])
    Socket.last.say({ type: 'joined', topic: 'room', ...bob }) // of nobody's asking
    Socket.last.resumed({ news: { recovered: true }, room: { recovered: true } })
    Socket.last.say({ type: 'presence', topic: 'room', clients: members.length, users: members.length, members })
    assert.equal(s.presence.members.size, members.length)
    await comeBack(hub)
    assert.equal(s.presence.members.size, members.length) // until there is news
  }
  Socket.last.welcome()
  Socket.last.resumed({ news: { recovered: true }, room: { error: 'busy', retry: true } })
  assert.equal(Socket.last.take('subscribe').presence, true)
  assert.deepEqual(s.told, [[2, 2, 's_a,s_b', undefined], [1, 1, 's_a', undefined]])
})

test('without a topic that is watched resume says nothing of presence', async () => {
  await open().then((hub) => hub.subscribe('news', () => {}))
  Socket.last.welcome()
  assert.ok(!('presence' in Socket.last.take('resume')))
})

test('a presence that is not told any more is an error of those who asked for it', async () => {
  const hub = await online()
  const errors = []
  const s = watching(hub, 'room', { onError: (e) => errors.push(e) })
  hub.subscribe('room', () => {}, { onError: () => assert.fail('it did not ask') })
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'room', clients: 1, users: 1, members: [ann] })
  Socket.last.say({ type: 'error', code: 'forbidden', message: 'no right', retry: false, presence: 'room' })
  Socket.last.say({ type: 'joined', topic: 'room', ...bob })
  assert.deepEqual(errors.map((e) => [e.code, e.topic]), [['forbidden', 'room']])
  assert.deepEqual([s.live, s.presence, s.told.length, hub.log.error.length], [true, undefined, 1, 0])
  const next = await comeBack(hub)
  next.welcome()
  assert.ok(!('presence' in next.take('resume')))
})

test('who subscribes later is told who is there, if the topic is watched', async () => {
  const hub = await online({}, { news: {} })
  assert.throws(() => watching(hub, 'news'), { code: 'already_subscribed' })
  const first = watching(hub)
  Socket.last.say({ type: 'subscribed', id: Socket.last.take('subscribe').id, topic: 'room', clients: 1, users: 1, members: [ann] })
  const second = watching(hub)
  const left = watching(hub)
  left.unsubscribe()
  await settled()
  assert.deepEqual([first.told, second.told, left.told], [[[1, 1, 's_a', undefined]], [[1, 1, 's_a', undefined]], []])
  // One that the hub itself has this client follow is not watched.
  const own = watching(hub, 'user:42')
  const m = Socket.last.take('subscribe')
  Socket.last.say({ type: 'error', id: m.id, code: 'already_subscribed', message: 'followed', retry: false })
  Socket.last.say({ type: 'subscribed', topic: 'user:42' })
  assert.deepEqual([own.live, hub.log.error.map((e) => e.code)], [true, ['already_subscribed']])
})

test('a presence is read in pages, and counted', async () => {
  const hub = await online()
  const page = hub.presence('room', { limit: 1, after: 'x' })
  const count = hub.presenceStats('room')
  const [m, n] = [Socket.last.take('presence'), Socket.last.take('presence_stats')]
  assert.deepEqual(m, { type: 'presence', topic: 'room', limit: 1, after: 'x', id: m.id })
  Socket.last.say({ type: 'presence', id: m.id, topic: 'room', clients: 2, users: 2, members: [ann], next: 'y' })
  Socket.last.say({ type: 'presence_stats', id: n.id, topic: 'room', clients: 2, users: 2 })
  assert.deepEqual(await page, { clients: 2, users: 2, members: [ann], next: 'y' })
  assert.deepEqual(await count, { clients: 2, users: 2 })
})
