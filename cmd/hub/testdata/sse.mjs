// Clients of EventSource for the hub's tests, in Node and in a browser; orders and reports as in hubjs.mjs.
//   {"client":"a","do":"open","url":"http://…"}   also close
// This program prints what happens to it, a line of JSON each:
//   {"client":"a","event":"state","state":"open"}   also connecting, which ends by itself, and closed, which does not
//   {"client":"a","event":"event","topic":"news","data":{},"position":"…"}   position is the last event's id
//   {"client":"a","event":"subscribed","topic":"news"}   also gap, error, goodbye

export function harness(EventSource, report) {
  const clients = new Map()
  return ({ client, do: what, url }) => {
    if (what === 'close') {
      clients.get(client).close()
      return
    }
    const only = new URL(url).searchParams.getAll('topic')
    const es = new EventSource(url)
    clients.set(client, es)
    const tell = (event, more) => report({ client, event, ...more })
    es.onopen = () => tell('state', { state: 'open' })
    es.onerror = () => tell('state', { state: es.readyState === 2 ? 'closed' : 'connecting' })
    es.onmessage = ({ data, lastEventId }) => {
      const m = JSON.parse(data)
      const whole = m.type === 'event' && m.topic !== undefined
      tell('event', { topic: whole ? m.topic : only[0], data: whole ? m.data : m, position: lastEventId })
    }
    es.addEventListener('hub', ({ data }) => {
      const { type, topic, recovered, reason, after_ms: retryIn, code, message } = JSON.parse(data)
      switch (type) {
        case 'subscribed':
          tell('subscribed', { topic })
          if (recovered === false) tell('gap', { topic })
          break
        case 'goodbye':
          tell('goodbye', { reason, retryIn })
          break
        default:
          tell(type, { topic, code, reason: message })
      }
    })
  }
}

if (globalThis.process) {
  const { createInterface } = await import('node:readline')
  const { EventSource } = await import('eventsource')
  const order = harness(EventSource, (happened) => process.stdout.write(JSON.stringify(happened) + '\n'))
  for await (const line of createInterface({ input: process.stdin })) order(JSON.parse(line))
  process.exit()
}
