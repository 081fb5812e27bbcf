// Pusher's own clients and backend library against hubs, unchanged: pusher-js, Laravel Echo and npm's pusher. The argument is
//   {"hubs":[{"host":"127.0.0.1","port":1,"control":2}, …],"app":{"id":"1","key":"k","secret":"s"},"only":"name, or nothing"}
// Each scenario that went well is a line. The first that did not ends the program with 1.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { isDeepStrictEqual } from 'node:util'

const require = createRequire(import.meta.url)
const PusherJS = require('pusher-js') // Node's build knows encryption
const Pusher = require('pusher')
const { default: Echo } = await import('laravel-echo')

const { hubs, app, only } = JSON.parse(process.argv[2])
const masterKey = Buffer.alloc(32, 7).toString('base64')

const backend = (hub = hubs[0]) => new Pusher({
  appId: app.id, key: app.key, secret: app.secret, host: hub.host, port: hub.control, useTLS: false, encryptionMasterKeyBase64: masterKey,
})

const open = []

// options are those of a client at a hub, whose user is u.
function options(hub, u, more) {
  const auth = backend(hub)
  return {
    cluster: 'mt1', wsHost: hub.host, wsPort: hub.port, forceTLS: false, enabledTransports: ['ws'], enableStats: false,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, done) =>
        done(null, auth.authorizeChannel(socketId, channelName, channelName.startsWith('presence-') ? { user_id: u, user_info: { name: 'user ' + u } } : undefined)),
    },
    userAuthentication: { customHandler: ({ socketId }, done) => done(null, auth.authenticateUser(socketId, { id: u, name: 'user ' + u })) },
    ...more,
  }
}

function client(hub, u = 'u1', more = {}) {
  const c = new PusherJS(more.key ?? app.key, options(hub, u, more))
  open.push(c)
  return c
}

// got is the next event of that name.
const got = (from, event) => new Promise(resolve => {
  const f = data => { from.unbind(event, f); resolve(data) }
  from.bind(event, f)
})

async function subscribed(c, name) {
  const channel = c.subscribe(name)
  if (!channel.subscribed) {
    await Promise.race([got(channel, 'pusher:subscription_succeeded'), got(channel, 'pusher:subscription_error').then(e => { throw new Error(name + ': ' + JSON.stringify(e)) })])
  }
  return channel
}

const connected = c => c.connection.state === 'connected' ? undefined : got(c.connection, 'connected')

async function until(what, ok) {
  for (let i = 0; i < 500; i++) {
    if (await ok()) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  throw new Error('never: ' + what)
}

const json = async response => { assert.equal(response.status, 200); return response.json() }

// answers waits until a request is answered with want: counts follow subscriptions within a moment.
async function answers(hub, path, params, want) {
  let seen
  await until(path, async () => isDeepStrictEqual(seen = await json(await backend(hub).get({ path, params })), want))
    .catch(() => assert.deepEqual(seen, want))
}

const [first, last] = [hubs[0], hubs[hubs.length - 1]]

const scenarios = {
  async 'events of a backend reach clients of all hubs'() {
    const channels = await Promise.all([first, last].map(hub => subscribed(client(hub), 'news')))
    const heard = channels.map(c => got(c, 'my-event'))
    await backend().trigger('news', 'my-event', { hello: 'wörld', list: [1, null] })
    for (const h of heard) assert.deepEqual(await h, { hello: 'wörld', list: [1, null] })
    const text = got(channels[0], 'text')
    await backend(last).trigger('news', 'text', 'just a text')
    assert.equal(await text, 'just a text')
  },

  async 'the socket that triggers is left out'() {
    const [a, b] = [client(first), client(last)]
    const [one, two] = [await subscribed(a, 'except'), await subscribed(b, 'except')]
    const seen = []
    one.bind('e', data => seen.push(data))
    const both = [got(one, 'end'), got(two, 'end')]
    const other = got(two, 'e')
    await backend().trigger('except', 'e', 1, { socket_id: a.connection.socket_id })
    await backend().trigger('except', 'end', 2)
    assert.equal(await other, 1)
    await Promise.all(both)
    assert.deepEqual(seen, [])
  },

  async 'client events go to the others of a private channel'() {
    const [a, b] = [client(first), client(last)]
    const [one, two] = [await subscribed(a, 'private-room'), await subscribed(b, 'private-room')]
    const heard = got(two, 'client-typing')
    assert.equal(one.trigger('client-typing', { by: 'a' }), true)
    assert.deepEqual(await heard, { by: 'a' })
    const refused = got(b.connection, 'error')
    b.send_event('client-typing', {}, 'private-elsewhere')
    assert.equal((await refused).data.code, 4301)
  },

  async 'a wrong signature is refused'() {
    const c = client(first, 'u', { channelAuthorization: { customHandler: (_, done) => done(null, { auth: app.key + ':00' }) } })
    const refused = await got(c.subscribe('private-room'), 'pusher:subscription_error')
    assert.equal(refused.status, 401)
    assert.equal(refused.type, 'AuthError')
  },

  async 'members of a presence channel'() {
    const [a, b, c] = [client(first, 'a'), client(last, 'b'), client(last, 'b')]
    const one = await subscribed(a, 'presence-room')
    assert.equal(one.members.count, 1)
    assert.deepEqual(one.members.me, { id: 'a', info: { name: 'user a' } })
    const added = []
    one.bind('pusher:member_added', m => added.push(m.id))
    const two = await subscribed(b, 'presence-room')
    assert.equal(two.members.count, 2)
    assert.deepEqual(two.members.get('a'), { id: 'a', info: { name: 'user a' } })
    await subscribed(c, 'presence-room')
    await until('b is added', () => added.length === 1)
    await answers(first, '/channels/presence-room/users', {}, { users: [{ id: 'a' }, { id: 'b' }] })
    const whisper = new Promise(resolve => two.bind('client-hi', (data, meta) => resolve({ data, meta })))
    one.trigger('client-hi', { x: 1 })
    assert.deepEqual(await whisper, { data: { x: 1 }, meta: { user_id: 'a' } })
    const removed = []
    one.bind('pusher:member_removed', m => removed.push(m.id))
    c.disconnect()
    b.unsubscribe('presence-room')
    await until('b is removed', () => removed.length === 1)
    assert.deepEqual([added, removed], [['b'], ['b']])
    assert.equal(one.members.count, 1)
  },

  async 'encrypted events'() {
    const channel = await subscribed(client(last), 'private-encrypted-room')
    const heard = got(channel, 'secret')
    await backend().trigger('private-encrypted-room', 'secret', { hidden: true })
    assert.deepEqual(await heard, { hidden: true })
  },

  async 'cache channels'() {
    const a = client(first).subscribe('cache-weather')
    await got(a, 'pusher:cache_miss')
    const heard = got(a, 'e')
    await backend().trigger('cache-weather', 'e', { degrees: 20 })
    await heard
    assert.deepEqual(await got(client(last).subscribe('cache-weather'), 'e'), { degrees: 20 })
    const { cache } = await json(await backend().get({ path: '/channels/cache-weather', params: { info: 'cache' } }))
    assert.equal(cache.data, '{"degrees":20}')
    await answers(first, '/channels/cache-weather', { info: 'subscription_count' }, { occupied: true, subscription_count: 2 })
  },

  async 'signing in, a user of its own, and its end'() {
    const c = client(first, 'ada')
    c.signin()
    await got(c, 'pusher:signin_success').catch(() => {})
    await until('signed in', () => c.user.user_data?.id === 'ada' && c.user.serverToUserChannel?.subscribed)
    const heard = new Promise(resolve => c.user.bind('hello', resolve))
    await backend(last).sendToUser('ada', 'hello', { x: 1 })
    assert.deepEqual(await heard, { x: 1 })
    const errors = []
    c.connection.bind('error', e => errors.push(e.data?.code ?? e.error?.data?.code))
    await backend(last).terminateUserConnections('ada')
    await until('terminated', () => c.connection.state === 'disconnected' || c.connection.state === 'failed')
    assert.ok(errors.includes(4009), JSON.stringify(errors))
  },

  async 'batches, and counts over hubs'() {
    const one = await subscribed(client(first), 'counted-a')
    await subscribed(client(last), 'counted-a')
    await subscribed(client(last), 'counted-b')
    await subscribed(client(first, 'x'), 'presence-counted')
    await subscribed(client(last, 'x'), 'presence-counted')
    const heard = [got(one, 'e1'), got(one, 'e2')]
    await json(await backend().triggerBatch([{ channel: 'counted-a', name: 'e1', data: 1 }, { channel: 'counted-a', name: 'e2', data: { two: 2 } }]))
    assert.equal(await heard[0], 1)
    assert.deepEqual(await heard[1], { two: 2 })
    await answers(first, '/channels/counted-a', { info: 'subscription_count' }, { occupied: true, subscription_count: 2 })
    await answers(first, '/channels/presence-counted', { info: 'user_count,subscription_count' }, { occupied: true, user_count: 1, subscription_count: 2 })
    const told = await json(await backend().trigger(['counted-a', 'presence-counted'], 'e', 1, { info: 'user_count,subscription_count' }))
    assert.deepEqual(told, { channels: { 'counted-a': { subscription_count: 2 }, 'presence-counted': { user_count: 1, subscription_count: 2 } } })
    await answers(last, '/channels', { filter_by_prefix: 'counted-' }, { channels: { 'counted-a': {}, 'counted-b': {} } })
    await answers(first, '/channels', { filter_by_prefix: 'presence-counted', info: 'user_count' }, { channels: { 'presence-counted': { user_count: 1 } } })
    assert.deepEqual(await json(await backend().get({ path: '/channels/nobody', params: {} })), { occupied: false })
    await assert.rejects(backend().get({ path: '/channels', params: { info: 'user_count' } }), e => e.status === 400)
    await assert.rejects(backend().get({ path: '/channels/counted-a/users' }), e => e.status === 400)
    await assert.rejects(backend().trigger('counted-a', 'e', 'x'.repeat(10241)), e => e.status === 413)
    const stranger = new Pusher({ appId: app.id, key: app.key, secret: 'wrong', host: first.host, port: first.control, useTLS: false })
    await assert.rejects(stranger.trigger('counted-a', 'e', 1), e => e.status === 401 && e.body.includes('auth_signature'))
  },

  async 'an unknown key is final'() {
    const c = client(first, 'u', { key: 'nobody' })
    const error = await got(c.connection, 'error')
    assert.equal(error.data?.code ?? error.error?.data?.code, 4001)
    await until('it gives up', () => ['disconnected', 'failed'].includes(c.connection.state))
  },

  async 'Laravel Echo'() {
    const echo = (hub, u) => new Echo({ broadcaster: 'pusher', key: app.key, client: client(hub, u) })
    const [a, b] = [echo(first, 'a'), echo(last, 'b')]
    const heard = new Promise(resolve => a.channel('orders').listen('.shipped', resolve))
    await until('subscribed', () => a.connector.pusher.channel('orders').subscribed)
    await backend().trigger('orders', 'shipped', { id: 7 })
    assert.deepEqual(await heard, { id: 7 })
    const named = new Promise(resolve => a.channel('orders').listen('OrderShipped', resolve))
    await backend().trigger('orders', 'App\\Events\\OrderShipped', { id: 8 })
    assert.deepEqual(await named, { id: 8 })
    const whisper = new Promise(resolve => a.private('chat').listenForWhisper('typing', resolve))
    const talking = b.private('chat')
    await until('both in chat', () => [a, b].every(e => e.connector.pusher.channel('private-chat').subscribed))
    talking.whisper('typing', { name: 'b' })
    assert.deepEqual(await whisper, { name: 'b' })
    const seen = []
    a.join('lobby').here(users => seen.push(['here', users.length])).joining(u => seen.push(['joining', u.name])).leaving(u => seen.push(['leaving', u.name]))
    await until('here', () => seen.length === 1)
    b.join('lobby')
    await until('joining', () => seen.length === 2)
    b.leave('lobby')
    await until('leaving', () => seen.length === 3)
    assert.deepEqual(seen, [['here', 1], ['joining', 'user b'], ['leaving', 'user b']])
  },
}

for (const [name, run] of Object.entries(scenarios)) {
  if (only && name !== only) continue
  const late = setTimeout(() => { console.error('not done in time: ' + name); process.exit(1) }, 30_000)
  try {
    await run()
  } catch (err) {
    console.error(name, err)
    process.exit(1)
  }
  clearTimeout(late)
  for (const c of open.splice(0)) c.disconnect()
  console.log('ok', name)
}
process.exit(0)
