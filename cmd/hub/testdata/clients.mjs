// WebSocket clients of npm's ws for the end-to-end test. A line on standard input is an order:
//   {"client":"a","open":"ws://…","protocol":"hub.v1.json"}   {"client":"a","send":"text"}
//   {"client":"a","open":"ws://…","deflate":"{\"serverMaxWindowBits\":9}"}   what permessage-deflate is offered with; or "false"
// A line on standard output is what happened to a client:
//   {"client":"a","event":"open","text":"permessage-deflate"}  {"client":"a","event":"message","text":"…"}
//   {"client":"a","event":"close","code":1012}  {"client":"a","event":"error","text":"…"}
import { createInterface } from 'node:readline'
import WebSocket from 'ws'

const sockets = new Map()

function tell(client, event, more) {
  process.stdout.write(JSON.stringify({ client, event, ...more }) + '\n')
}

function open(client, url, protocol, deflate) {
  const ws = new WebSocket(url, protocol ? [protocol] : [], { perMessageDeflate: deflate ? JSON.parse(deflate) : true })
  sockets.set(client, ws)
  ws.on('open', () => tell(client, 'open', { text: ws.extensions }))
  ws.on('message', (data, isBinary) => tell(client, isBinary ? 'binary' : 'message', { text: data.toString() }))
  ws.on('close', code => tell(client, 'close', { code }))
  ws.on('error', err => tell(client, 'error', { text: err.message }))
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  if (order.open) open(order.client, order.open, order.protocol, order.deflate)
  else sockets.get(order.client).send(order.send)
}
for (const ws of sockets.values()) ws.terminate()
