// An endpoint of webhooks that verifies them with npm's library of Pusher. It prints its port, and a line of JSON for each request. Every other
// body is answered 500 when it comes first.
import { createServer } from 'node:http'
import Pusher from 'pusher'

const pusher = new Pusher({ appId: '1', key: 'app-key', secret: 'app-secret', cluster: 'none' })
const seen = new Set()
let bodies = 0
const server = createServer(async (req, res) => {
  const rawBody = Buffer.concat(await req.toArray()).toString()
  const hook = pusher.webhook({ headers: req.headers, rawBody })
  if (!hook.isValid()) {
    console.log(JSON.stringify({ refused: rawBody }))
    return res.writeHead(401).end()
  }
  const first = !seen.has(rawBody)
  seen.add(rawBody)
  const status = first && bodies++ % 2 === 0 ? 500 : 204
  console.log(JSON.stringify({ status, time: hook.getTime().getTime(), events: hook.getEvents() }))
  res.writeHead(status).end()
}).listen(0, '127.0.0.1', () => console.log(server.address().port))
