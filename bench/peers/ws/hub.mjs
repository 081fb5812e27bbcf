// A hub as one writes it with Node, ws and Redis: what hubbench needs of a server, without shortcuts and without waste.
//   ?topic= and ?user= say what a client follows. Events come from Redis as they come to wshub: by PUBLISH to `channel`,
//   to `hub:t:<topic>`, and to `hub:to` for a user.
import cluster from 'node:cluster'
import { createServer } from 'node:http'
import { availableParallelism } from 'node:os'
import { createClient } from '@redis/client'
import { WebSocketServer } from 'ws'

const [host, port] = process.argv[2].split(':')
const heartbeat = 1000 * process.argv[3] // between two pings to a client
const slices = 50 // of a heartbeat: pings that all come at once would delay events
const backlog = 1 << 20 // bytes that a slow client may be behind before it is closed

// One process for each core: one alone would leave a core of this machine to the others.
if (cluster.isPrimary) {
  // The workers accept for themselves: to hand each socket over costs the primary more than the handshake.
  cluster.schedulingPolicy = cluster.SCHED_NONE
  const workers = Array.from({ length: availableParallelism() }, () => cluster.fork())
  let subscribed = 0
  cluster.on('message', () => { // none listens before all can: the first would get all clients
    if (++subscribed === workers.length) for (const worker of workers) worker.send('listen')
  })
  cluster.on('exit', () => process.exit(1))
} else {
  const followers = new Map() // by Redis channel, or user
  const redis = await createClient({ url: process.env.REDIS_URL }).connect()

  const deliver = (name, event) => {
    for (const client of followers.get(name) ?? []) {
      if (client.bufferedAmount > backlog) client.terminate()
      else client.send(event, { binary: false }) // as bytes, so that nobody decodes and encodes it again
    }
  }
  const follow = async (name, client) => {
    if (followers.has(name)) return followers.get(name).add(client)
    followers.set(name, new Set([client]))
    if (!name.startsWith('user:')) await redis.subscribe(name, (event) => deliver(name, event), true)
  }
  const leave = async (name, client) => {
    const all = followers.get(name)
    if (!all?.delete(client) || all.size > 0) return
    followers.delete(name)
    if (!name.startsWith('user:')) await redis.unsubscribe(name)
  }
  await redis.subscribe('hub:to', (message) => {
    const { to, data } = JSON.parse(message)
    deliver(`user:${to.user}`, Buffer.from(JSON.stringify(data)))
  })

  const server = createServer((_, response) => response.writeHead(426).end())
  // No compression: the others have none either. An event has no business with the size of what clients send.
  const clients = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 64 << 10 })
  let came = 0
  clients.on('connection', (client, request) => {
    const query = new URL(request.url, 'ws://hub').searchParams
    const name = query.has('user') ? `user:${query.get('user')}` : query.has('topic') ? `hub:t:${query.get('topic')}` : 'channel'
    client.alive = true
    client.slice = came++ % slices
    client.on('pong', () => { client.alive = true })
    client.on('error', () => client.terminate())
    client.on('close', () => leave(name, client))
    return follow(name, client)
  })
  let slice = 0
  setInterval(() => {
    slice = (slice + 1) % slices
    for (const client of clients.clients) {
      if (client.slice !== slice) continue
      if (!client.alive) { client.terminate(); continue }
      client.alive = false
      client.ping()
    }
  }, heartbeat / slices)
  process.on('message', () => server.listen({ host, port, backlog: 4096 }))
  process.on('SIGTERM', () => process.exit())
  process.send('subscribed')
}
