// Clients of centrifuge-js, unchanged, for the tests of the SDKs. A line on standard input is an order:
//   {"client":"a","do":"open","build":"json","url":"ws://…","tokens":["…"],"fallback":"http://…"}   tokens in turn; build
//     protobuf, or the transport sse or http_stream at the same address
//   {"client":"a","do":"subscribe","channel":"news","tokens":["…"],"joinLeave":true}   also unsubscribe, connect, disconnect
//   {"client":"a","do":"publish","ask":7,"channel":"news","data":{}}  also history, presence, presenceStats
// A line on standard output is what happened to a client:
//   {"client":"a","event":"connected","transport":"websocket"}        also connecting, disconnected, error, token
//   {"client":"a","event":"publication","channel":"news","data":"{}"} also subscribing, subscribed, unsubscribed, join, leave
//   {"client":"a","event":"answer","ask":7,"code":108,"reason":"…"}
// It runs in Node and in a browser, as sse.mjs does.
import { Centrifuge } from 'centrifuge'
import { Centrifuge as CentrifugeProtobuf } from 'centrifuge/build/protobuf'

const clients = new Map()
let tools, report

function tell(client, event, more) {
  report({ client, event, ...more })
}

// text is data as JSON: the Protobuf build hands out bytes.
const text = data => (data instanceof Uint8Array ? new TextDecoder().decode(data) : JSON.stringify(data))

const publication = p => ({ channel: p.channel, data: text(p.data), offset: p.offset, tags: p.tags, user: p.info?.user })

const subscribed = c => ({
  channel: c.channel, wasRecovering: c.wasRecovering, recovered: c.recovered, recoverable: c.recoverable,
  offset: c.streamPosition?.offset, epoch: c.streamPosition?.epoch,
})

// supplier hands out tokens in turn, the last one for ever, and says so.
function supplier(client, tokens, channel) {
  let next = 1
  return async () => {
    const token = tokens[Math.min(next++, tokens.length - 1)]
    tell(client, 'token', { channel })
    return token
  }
}

// A ping may be late by less than usual: the tests do not want to wait.
const delays = { minReconnectDelay: 20, maxReconnectDelay: 500, maxServerPingDelay: 3000 }

// streamed is the same address for another transport.
function streamed(transport, url) {
  const { host, search } = new URL(url)
  return [{ transport, endpoint: `http://${host}/connection/${transport}${search}` }]
}

function open({ client, build, url, tokens, fallback }) {
  const options = { ...tools, emulationEndpoint: `http://${new URL(url).host}/emulation`, ...delays }
  if (tokens) options.token = tokens[0]
  if (tokens?.length > 1) options.getToken = supplier(client, tokens)
  const endpoint = fallback
    ? [{ transport: 'websocket', endpoint: url }, { transport: 'http_stream', endpoint: fallback }]
    : ['sse', 'http_stream'].includes(build) ? streamed(build, url) : url
  const c = new (build === 'protobuf' ? CentrifugeProtobuf : Centrifuge)(endpoint, options)
  clients.set(client, c)
  for (const event of ['connecting', 'connected', 'disconnected']) {
    c.on(event, ({ code, reason, transport }) => tell(client, event, { code, reason, transport }))
  }
  c.on('error', ({ type, error }) => tell(client, 'error', { code: error.code, reason: `${type}: ${error.message}` }))
  for (const event of ['subscribing', 'unsubscribed']) {
    c.on(event, ({ channel }) => tell(client, event, { channel, server: true }))
  }
  c.on('subscribed', ctx => tell(client, 'subscribed', { ...subscribed(ctx), server: true }))
  c.on('publication', p => tell(client, 'publication', { ...publication(p), server: true }))
}

function subscribe({ client, channel, tokens, joinLeave }) {
  const c = clients.get(client)
  let sub = c.getSubscription(channel)
  if (!sub) {
    const options = { minResubscribeDelay: 20, maxResubscribeDelay: 500, joinLeave }
    if (tokens) options.token = tokens[0]
    if (tokens?.length > 1) options.getToken = supplier(client, tokens, channel)
    sub = c.newSubscription(channel, options)
    for (const event of ['subscribing', 'unsubscribed']) {
      sub.on(event, ({ code, reason }) => tell(client, event, { channel, code, reason }))
    }
    sub.on('error', ({ type, error }) => tell(client, 'error', { channel, code: error.code, reason: `${type}: ${error.message}` }))
    sub.on('subscribed', ctx => tell(client, 'subscribed', subscribed(ctx)))
    sub.on('publication', p => tell(client, 'publication', publication(p)))
    for (const event of ['join', 'leave']) sub.on(event, ({ info }) => tell(client, event, { channel, user: info.user, data: text(info.connInfo) }))
  }
  sub.subscribe()
}

// requests are what a client asks a server for; each resolves to what is told of the answer.
const requests = {
  publish: (c, o) => c.publish(o.channel, o.build === 'protobuf' ? new TextEncoder().encode(JSON.stringify(o.data)) : o.data),
  presence: async (c, o) => {
    const { clients } = await c.presence(o.channel)
    return { users: Object.entries(clients).map(([id, info]) => (id === info.client ? info.user : '')).sort() }
  },
  presenceStats: (c, o) => c.presenceStats(o.channel),
  rpc: (c, o) => c.rpc('method', o.data),
  history: async (c, o) => {
    const r = await c.history(o.channel, o.options)
    return { offset: r.offset, epoch: r.epoch, publications: r.publications.map(publication) }
  },
}

async function ask(order) {
  const { client, ask } = order
  try {
    tell(client, 'answer', { ask, ...(await requests[order.do](clients.get(client), order)) })
  } catch (err) {
    tell(client, 'answer', { ask, code: err.code ?? -1, reason: err.message })
  }
}

const orders = {
  open,
  subscribe,
  unsubscribe: o => clients.get(o.client).getSubscription(o.channel).unsubscribe(),
  connect: o => clients.get(o.client).connect(),
  disconnect: o => clients.get(o.client).disconnect(),
}

// harness has clients work with the WebSocket and the EventSource of tools.
export function harness(given, to) {
  tools = given
  report = to
  return order => {
    if (order.ask) ask(order)
    else orders[order.do](order)
  }
}

if (globalThis.process) {
  const { createInterface } = await import('node:readline')
  const { EventSource } = await import('eventsource')
  const { default: WebSocket } = await import('ws')
  const order = harness({ websocket: WebSocket, eventsource: EventSource }, happened => process.stdout.write(JSON.stringify(happened) + '\n'))
  for await (const line of createInterface({ input: process.stdin })) order(JSON.parse(line))
  for (const c of clients.values()) c.disconnect()
}
