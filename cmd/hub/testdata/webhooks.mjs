// An endpoint of webhooks that verifies them with the library of Standard Webhooks. It prints its port, and a line of JSON for each
// request. Every other batch is answered 500 at its first try.
import { createServer } from 'node:http'
import { Webhook } from 'standardwebhooks'

const verifier = new Webhook(process.env.HUB_WEBHOOK_SECRET)
const seen = new Set()
let batches = 0
const server = createServer(async (req, res) => {
  const body = Buffer.concat(await req.toArray()).toString()
  const id = req.headers['webhook-id']
  let taken
  try {
    taken = verifier.verify(body, req.headers)
  } catch (e) {
    console.log(JSON.stringify({ refused: String(e) }))
    return res.writeHead(401).end()
  }
  const first = !seen.has(id)
  seen.add(id)
  const status = first && batches++ % 2 === 0 ? 500 : 204
  console.log(JSON.stringify({ id, status, fence: req.headers['webhook-fence'], ...taken }))
  res.writeHead(status).end()
}).listen(0, '127.0.0.1', () => console.log(server.address().port))
