// Clients of hub.js for its tests, in Node and in a browser. In Node, a line on standard input is an order, and a line on
// standard output is what happened; in a browser the test calls order, and this calls report.
//   {"client":"a","do":"open","url":"ws://…","tokens":["…"]}   tokens in turn, the last one for ever; "!" has the callback fail
//   {"client":"a","do":"tokens","tokens":["…"]}                those from now on
//   {"client":"a","do":"subscribe","topic":"news","presence":true}             also unsubscribe, connect, close
//   {"client":"a","do":"publish","ask":7,"topic":"news","data":{},"key":"k"}   also history, presence, presenceStats
// What happened:
//   {"client":"a","event":"state","state":"waiting","close":1012,"reason":"…","retryIn":20}
//   {"client":"a","event":"event","topic":"news","data":{},"position":"…"}   also gap, error, token, ended
//   {"client":"a","event":"presence","topic":"room","reason":"joined","data":[2,2,"ann","bob"]}   clients, users and theirs
//   {"client":"a","event":"answer","ask":7,"code":"forbidden"}

export function harness(Hub, report) {
  const clients = new Map()

  const orders = {
    open({ client, url, tokens }) {
      const c = { tokens, subscriptions: new Map() }
      const tell = (event, more) => report({ client, event, ...more })
      const token = ({ reason }) => {
        tell('token', { reason })
        const next = c.tokens.length > 1 ? c.tokens.shift() : c.tokens[0]
        if (next === '!') throw new Error('no token')
        return next
      }
      c.hub = new Hub(url, { token: tokens && token, firstDelay: 100, longestDelay: 1000 })
      c.hub.on('state', ({ code, ...rest }) => tell('state', { close: code, ...rest }))
      c.hub.on('event', (event) => tell('event', event))
      c.hub.on('gap', (gap) => tell('gap', gap))
      c.hub.on('error', ({ code, message }) => tell('error', { code, reason: message }))
      clients.set(client, c)
    },
    tokens({ client, tokens }) {
      clients.get(client).tokens = tokens
    },
    subscribe({ client, topic, since, presence }) {
      const c = clients.get(client)
      const onError = ({ code }) => report({ client, event: 'ended', topic, code })
      const onPresence = presence && (({ clients, users, members }, change) => {
        const data = [clients, users, ...[...members.values()].map((m) => m.user).sort()]
        report({ client, event: 'presence', topic, reason: change?.type ?? 'whole', data })
      })
      const s = c.hub.subscribe(topic, () => {}, { since, onError, onPresence })
      c.subscriptions.set(topic, s)
      s.ready.then(() => report({ client, event: 'subscribed', topic, position: s.position }), () => {})
    },
    unsubscribe({ client, topic }) {
      clients.get(client).subscriptions.get(topic).unsubscribe()
    },
    async publish({ client, ask, topic, data, key }) {
      await answer(client, ask, clients.get(client).hub.publish(topic, data, { key }))
    },
    async history({ client, ask, topic, limit }) {
      const all = async () => {
        const data = []
        let pages = 0
        for await (const page of clients.get(client).hub.pages(topic, { limit })) {
          data.push(...page.events.map((e) => e.data))
          pages++
        }
        return { data, pages }
      }
      await answer(client, ask, all())
    },
    async presence({ client, ask, topic, limit }) {
      const { hub } = clients.get(client)
      const all = async () => {
        const data = []
        let pages = 0
        for (let after; ; pages++) {
          const page = await hub.presence(topic, { limit, after })
          data.push(...page.members.map((m) => m.user))
          if ((after = page.next) === undefined) return { data: data.sort(), pages: pages + 1 }
        }
      }
      await answer(client, ask, all())
    },
    async presenceStats({ client, ask, topic }) {
      await answer(client, ask, clients.get(client).hub.presenceStats(topic).then((data) => ({ data })))
    },
    connect: ({ client }) => clients.get(client).hub.connect(),
    close: ({ client }) => clients.get(client).hub.close(),
  }

  async function answer(client, ask, promise) {
    const result = await promise.catch(({ code, message }) => ({ code, reason: message }))
    report({ client, event: 'answer', ask, ...result })
  }

  return (order) => orders[order.do](order)
}

if (globalThis.process) {
  const { createInterface } = await import('node:readline')
  const { Hub } = await import(process.argv[2])
  const order = harness(Hub, (happened) => process.stdout.write(JSON.stringify(happened) + '\n'))
  for await (const line of createInterface({ input: process.stdin })) order(JSON.parse(line))
  process.exit()
}
