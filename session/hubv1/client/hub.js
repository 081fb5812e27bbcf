/**
 * A client for hub.v1, the protocol of wshub, in browsers and in Node 22 or later. It needs no other module.
 *
 *     const hub = new Hub('wss://hub.example.com/notification', { token: () => fetchToken() })
 *     hub.subscribe('news', (data) => console.log(data), { onGap: () => reload() })
 *     await hub.publish('chat', { text: 'hello' })
 *
 * A {@link Hub} holds one connection, and makes another one whenever it breaks. A {@link Link} is one such connection.
 * Requests wait in a queue of the Hub until they are answered, so a break does not lose them. The app's subscriptions are a
 * list of topics with the position of the last event of each; every new connection hands that list to the hub.
 *
 * @module
 */

/**
 * One event.
 * @typedef {object} HubEvent
 * @property {string} topic
 * @property {any} data The published data.
 * @property {string} [position] Where it stands in its topic. Absent if the topic keeps no history.
 */

/**
 * A loss: events of the topic did not arrive and will not. Fetch the state that they would have changed.
 * @typedef {object} Gap
 * @property {string} topic
 * @property {string} [position] Where the topic goes on.
 * @property {'live' | 'return'} reason The hub lost events, or could not find what was missed while this client was away.
 */

/**
 * A change of state.
 * @typedef {object} StateChange
 * @property {State} state
 * @property {string} [reason] Why the connection ended, for people.
 * @property {number} [code] The code of the Close frame, 0 if the connection ended without one.
 * @property {number} [retryIn] In state waiting: the time to the next attempt in ms.
 */

/**
 * - `connecting`: a connection is being made.
 * - `online`: the hub answers, and all topics have been asked for.
 * - `waiting`: the connection ended, and the next attempt comes in `retryIn` ms.
 * - `closed`: the connection ended for good. `connect()` makes another one.
 * @typedef {'connecting' | 'online' | 'waiting' | 'closed'} State
 */

/**
 * @typedef {object} HubEvents
 * @property {StateChange} state
 * @property {HubEvent} event Each event of each topic, also of those that a backend had this client follow.
 * @property {Gap} gap Each loss.
 * @property {HubError} error Each failure that nobody else hears of: of the token callback, of a subscription
 *   without `onError`, of a handler. Without a listener it goes to `console.error`.
 */

/**
 * Why a token is wanted: for a connection, because the last one is about to end or has ended, or because the hub
 * refused it.
 * @typedef {'connect' | 'refresh' | 'expired' | 'refused'} TokenReason
 */

/**
 * @typedef {object} HubOptions
 * @property {string | ((why: {reason: TokenReason}) => string | Promise<string>)} [token] The JWT, or a func that
 *   fetches one. The func is called for each connection and before a token ends; a failure is tried again.
 * @property {number} [firstDelay] Bound of the time to the first new attempt in ms. It doubles with each. Default 1000.
 * @property {number} [longestDelay] Bound of that bound in ms. Default 30000.
 * @property {number} [patience] How long the hub may take to answer a ping, in ms. Default 5000.
 * @property {number} [connectTimeout] How long a connection, or the token callback, may take, in ms. Default 10000.
 * @property {number} [timeout] How long a request may take, attempts included, in ms. Default 60000.
 * @property {number} [maxQueued] Requests that may wait for their answers. Default 256.
 * @property {number} [maxQueuedBytes] Their size in all, in UTF-16 units. Default 1048576.
 * @property {new (url: string, protocols: string[]) => WebSocket} [WebSocket] Default: the global one.
 */

/**
 * A session that follows a topic.
 * @typedef {object} Member
 * @property {string} session
 * @property {string} [user] Absent if anonymous.
 * @property {any} [info] The claim `info` of its token.
 * @property {number} since When it came, in Unix milliseconds.
 */

/**
 * Who is there. It is kept up to date: read it, and do not change it.
 * @typedef {object} Presence
 * @property {number} clients How many members there are.
 * @property {number} users How many different users they are of.
 * @property {Map<string, Member>} [members] By session. Absent if they are too many to be told.
 */

/**
 * One member that came or went.
 * @typedef {object} PresenceChange
 * @property {'joined' | 'left'} type
 * @property {Member} member
 * @property {boolean} first It joined as the first of its user.
 * @property {boolean} last It left as the last of its user.
 */

/**
 * @typedef {object} PresencePage
 * @property {number} clients
 * @property {number} users
 * @property {Member[]} members
 * @property {string} [next] The `after` of the next page. Absent behind the last one.
 */

/**
 * @typedef {object} SubscribeOptions
 * @property {string} [since] A position to begin behind, as `position` had it. Default: from now on.
 * @property {(presence: Presence, change?: PresenceChange) => void} [onPresence] Who is there, at first and after each
 *   change. Without `change` it is the whole anew.
 * @property {(gap: Gap) => void} [onGap]
 * @property {(error: HubError) => void} [onError] The topic is not followed, or not any more. Or only
 *   its presence is not told any more: then the subscription is still `live`.
 */

/**
 * @typedef {object} Page
 * @property {{position: string, data: any}[]} events The oldest first.
 * @property {string} [position] Where the next page begins.
 * @property {boolean} recovered False if something between `since` and `position` is missing.
 * @property {boolean} more There is a next page.
 */

/** Why something did not work. */
export class HubError extends Error {
  /**
   * @param {string} code One of the hub's error codes, or: `closed`, `queue_full`, `timeout`, `token`, `handler`.
   * @param {string} message
   * @param {string} [topic]
   */
  constructor(code, message, topic) {
    super(message)
    this.name = 'HubError'
    this.code = code
    this.topic = topic
  }
}

/** How long an online connection must last for the next delay to begin anew, in ms. */
const STABLE = 10_000
/** Requests on their way at a time: a hub takes 200 at once, and subscriptions of a page begin together. */
const WINDOW = 32
/** For so long the hub remembers a key, less a margin, in ms. */
const KEY_LIFE = 270_000
/** The first bound of a resume message, in UTF-16 units: half of the hub's usual --max-message. Further topics are subscribed to. */
const MAX_RESUME = 32_768
/** The longest time of a timer in ms; browsers take up to 2^31. */
const DAY = 86_400_000

/** Close codes after which another connection would end the same way. */
const FOR_GOOD = new Map([
  [1002, 'the hub found a broken frame'],
  [1003, 'the hub takes text frames only'],
  [1007, 'the hub found text that is not UTF-8'],
  [4003, 'a backend disconnected this client'],
  [4009, 'a newer connection has this session'],
])
/** Close codes of a hub that is short of something: come back later. */
const LATER = new Set([1013, 4029, 4030])

const now = () => performance.now()

/** A random key that no other publication has. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')
}

/**
 * Waits for a promise, but not for ever.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 * @returns {Promise<T>}
 */
function within(promise, ms) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer in ${ms} ms`)), ms)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/**
 * A message of the hub, whose members depend on its type.
 * @typedef {Record<string, any>} Message
 */

/**
 * One connection. It ends once, and is sure to end: a hub that says nothing is asked by a ping, since pages do not see
 * the WebSocket's own pings, and is given up without an answer.
 */
class Link {
  #ws
  #onEnd
  #patience
  #timer
  #silence = 0
  #heard = 0
  #due = 0
  #asked = 0 // pings without an answer
  ended = false
  welcomed = false
  /** A token is being renewed. */
  renewing = false
  /** When it went online. @type {number | undefined} */
  since
  /** after_ms of goodbye, in ms. @type {number | undefined} */
  after
  /** The resume token of welcome. @type {string | undefined} */
  fresh
  /** The topics that a resume asks for, until it is answered. @type {Map<string, Topic> | undefined} */
  asked
  /** The names of topics that the hub said it follows, and has not ended since. @type {Set<string>} */
  told = new Set()

  /**
   * @param {WebSocket} ws
   * @param {{connectTimeout: number, patience: number}} times
   * @param {(link: Link, m: Message) => void} onMessage
   * @param {(link: Link, code: number, reason: string) => void} onEnd
   */
  constructor(ws, { connectTimeout, patience }, onMessage, onEnd) {
    this.#ws = ws
    this.#onEnd = onEnd
    this.#patience = patience
    this.#timer = setTimeout(() => this.end(0, 'the hub did not answer'), connectTimeout)
    ws.onmessage = ({ data }) => {
      this.#heard = now()
      this.#asked = 0
      let m
      try {
        m = JSON.parse(data)
      } catch {
        return this.end(0, 'the other side does not speak hub.v1')
      }
      onMessage(this, m)
    }
    ws.onclose = ({ code, reason }) => this.end(code === 1005 || code === 1006 ? 0 : code, reason)
    // onclose follows at once, but for a handshake that fails in Node 22: there nothing follows.
    ws.onerror = () => setTimeout(() => this.end(0, ''), 0)
  }

  /** @param {string} text */
  send(text) {
    if (!this.ended) this.#ws.send(text)
  }

  /**
   * Begins to watch for silence, which it breaks by a ping after so many ms.
   * @param {number} silence
   */
  watch(silence) {
    this.#silence = silence
    this.#schedule(silence)
  }

  /** Asks now. */
  probe() {
    if (this.#silence > 0 && this.#asked === 0) this.#ask()
  }

  #ask() {
    this.#asked++
    this.send('{"type":"ping"}')
    this.#schedule(this.#patience)
  }

  /** @param {number} ms */
  #schedule(ms) {
    clearTimeout(this.#timer)
    this.#due = now() + ms
    this.#timer = setTimeout(() => this.#look(), ms)
  }

  #look() {
    const quiet = now() - this.#heard
    // A timer that is late shows that the page slept. The answer may be on its way: ask again, once.
    const late = now() - this.#due > 1000
    if (this.#asked === 0 && quiet < this.#silence) this.#schedule(this.#silence - quiet)
    else if (this.#asked === 0 || (late && this.#asked === 1)) this.#ask()
    else this.end(0, 'the hub was silent')
  }

  /**
   * Ends the connection without waiting for the hub, which may be frozen.
   * @param {number} code
   * @param {string} reason
   */
  end(code, reason) {
    if (this.ended) return
    this.ended = true
    clearTimeout(this.#timer)
    this.#ws.onmessage = this.#ws.onclose = null
    this.#ws.close()
    this.#onEnd(this, code, reason)
  }
}

/**
 * One call of subscribe.
 */
export class Subscription {
  #topic
  #leave
  /** @internal @param {Topic} topic @param {(s: Subscription) => void} leave
   * @param {(data: any, event: HubEvent) => void} onEvent @param {SubscribeOptions} options */
  constructor(topic, leave, onEvent, options) {
    this.#topic = topic
    this.#leave = leave
    /** @internal */
    this.onEvent = onEvent
    /** @internal */
    this.options = options
  }

  /**
   * Resolves when the topic is followed for the first time, and rejects with a {@link HubError} if it can't be: with
   * `closed` if the connection ends for good before. After `connect()` it is another promise.
   * @returns {Promise<void>}
   */
  get ready() {
    return this.#topic.first
  }

  /** The topic's name. */
  get topic() {
    return this.#topic.name
  }

  /** The position of the last event: hand it to `subscribe` as `since` after a reload. Undefined without history. */
  get position() {
    return this.#topic.position || undefined
  }

  /** Whether events arrive now. */
  get live() {
    return this.#topic.live
  }

  /** Who is there, as `onPresence` was last told. Undefined before that, and if nobody asked for it. @returns {Presence | undefined} */
  get presence() {
    return this.#topic.presence
  }

  /** Ends it: `onEvent` is not called any more. */
  unsubscribe() {
    this.#leave(this)
  }
}

/** A topic that is followed, or is to be: by the app, by a backend's order, or as the user's own. */
class Topic {
  /** Events arrive on the present connection. */
  live = false
  /** It was live before, on any connection. */
  known = false
  /** Who is there. @type {Presence | undefined} */
  presence
  /** @type {Set<Subscription>} */
  subscriptions = new Set()
  /** @type {() => void} */
  settle = () => {}
  /** @type {(error: HubError) => void} */
  fail = () => {}

  /** @param {string} name @param {string} [position] @param {boolean} [watched] Its presence is wanted. */
  constructor(name, position, watched = false) {
    this.name = name
    this.position = position ?? ''
    this.watched = watched
    this.first = this.begin()
  }

  /** A promise for the first time that it is followed. @returns {Promise<void>} */
  begin() {
    /** @type {Promise<void>} */
    const first = new Promise((resolve, reject) => {
      this.settle = resolve
      this.fail = reject
    })
    first.catch(() => {}) // an app that does not wait for it is told by onError
    return first
  }

  /**
   * Where to begin. A topic that had no event yet when it was followed, or keeps no history, begins before its first
   * event: the hub then finds all that came since, or says that it can't.
   */
  get since() {
    return this.position || (this.known ? '0' : '')
  }
}

/**
 * A request that waits for its answer.
 * @typedef {object} Request
 * @property {string} text The message without its id and last brace.
 * @property {Topic} [topic] A subscription, which ends with the connection.
 * @property {boolean} [brief] It ends with the connection.
 * @property {boolean} [publishes]
 * @property {boolean} [app] It counts as one that waits for its answer.
 * @property {string} [sentBy] Whose keys it was sent with.
 * @property {ReturnType<typeof setTimeout>} [timer] To its time-out.
 * @property {number} attempts
 * @property {boolean} done
 * @property {(m: Message) => void} resolve Called before the next message is looked at.
 * @property {(error: HubError) => void} reject
 */

/**
 * The parts of a request.
 * @typedef {Omit<Request, 'text' | 'timer' | 'attempts' | 'done'> & {message: Message, timeout?: number}} Asked
 */

/** A hub, as this client sees it. */
export class Hub {
  #url
  #options
  /** @type {State} */
  #state = 'closed'
  /** @type {Link | undefined} */
  #link
  #attempt = 0 // which call of #open counts
  #failures = 0 // connections in a row that did not last
  /** @type {TokenReason} */
  #why = 'connect'
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer // to the next attempt
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #refresh
  /** The last resume token. @type {string | undefined} */
  #ticket
  #tried = '' // the resume token that was sent
  #maxResume = MAX_RESUME

  /** @type {Map<string, Topic>} */
  #topics = new Map()
  /** All requests without an answer. @type {Set<Request>} */
  #requests = new Set()
  #waiting = 0 // of them the app's, which maxQueued bounds, and
  #size = 0 // their texts
  /** Those of them that are to be sent. @type {Request[]} */
  #queue = []
  /** Those of them that were sent on this connection, by id. @type {Map<number, Request>} */
  #flying = new Map()
  #lastID = 0
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map()

  /** The session's name, which lasts over connections. @type {string | undefined} */
  session
  /** The user, undefined if anonymous. @type {string | undefined} */
  user
  /** The name of the hub's process. @type {string | undefined} */
  node

  /**
   * Connects at once.
   * @param {string | URL} url As in `wss://hub.example.com/notification`; http, https and, in a page, relative ones work too.
   * @param {HubOptions} [options]
   * @throws {TypeError} if url is none, or if there is no WebSocket here.
   */
  constructor(url, options = {}) {
    this.#url = new URL(url, globalThis.location?.href)
    this.#url.protocol = this.#url.protocol.replace('http', 'ws')
    this.#options = {
      firstDelay: 1000, longestDelay: 30_000, patience: 5000, connectTimeout: 10_000, timeout: 60_000,
      maxQueued: 256, maxQueuedBytes: 1 << 20, WebSocket: globalThis.WebSocket, ...options,
    }
    if (!this.#options.WebSocket) throw new TypeError('no WebSocket here: Node has one from version 22 on, or give the option WebSocket')
    this.connect()
  }

  get state() {
    return this.#state
  }

  /**
   * Calls handler for each event of that name, until the func that it returns is called.
   * @template {keyof HubEvents} K
   * @param {K} name
   * @param {(detail: HubEvents[K]) => void} handler
   * @returns {() => void}
   */
  on(name, handler) {
    const all = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, all.add(handler))
    return () => void all.delete(handler)
  }

  /** Connects again after the state `closed`. The topics are followed from where they were left. */
  connect() {
    if (this.#state !== 'closed') return
    globalThis.addEventListener?.('online', this.#online)
    globalThis.addEventListener?.('offline', this.#offline)
    this.#failures = 0
    for (const t of this.#topics.values()) if (!t.known) t.first = t.begin()
    this.#open()
  }

  /** Ends the connection for good. Requests that wait are rejected with `closed`. */
  close() {
    this.#finish(1000, 'closed by the app', new HubError('closed', 'the connection was closed'))
  }

  /**
   * Follows a topic until `unsubscribe`, over any number of connections. Several subscriptions to a topic share it.
   * @param {string} topic
   * @param {(data: any, event: HubEvent) => void} onEvent
   * @param {SubscribeOptions} [options]
   * @throws {HubError} `already_subscribed` if the topic is followed and `since` is given, or `onPresence` for the first time.
   */
  subscribe(topic, onEvent, options = {}) {
    let t = this.#topics.get(topic)
    if (t && options.since) throw new HubError('already_subscribed', 'the topic is followed: since can not be given', topic)
    if (t && options.onPresence && !t.watched) throw new HubError('already_subscribed', 'the topic is followed without its presence', topic)
    if (!t) {
      t = new Topic(topic, options.since, !!options.onPresence)
      this.#topics.set(topic, t)
      if (this.#state === 'online') this.#follow(t)
      if (this.#state === 'closed') t.fail(isClosed())
    }
    const of = t
    const s = new Subscription(of, (s) => this.#leave(of, s), onEvent, options)
    of.subscriptions.add(s)
    if (of.presence) queueMicrotask(() => of.presence && of.subscriptions.has(s) && this.#show(of.presence, s))
    return s
  }

  /**
   * Publishes data, which must be JSON. It is sent again with the same key until there is an answer, so it is published
   * once. While the client is away it waits.
   * @param {string} topic
   * @param {any} data
   * @param {{key?: string, timeout?: number}} [options] timeout is at most 270000 ms: then the hub forgets the key.
   * @returns {Promise<{position?: string}>}
   * @throws {HubError} `unknown_outcome` if it may or may not have been published; any other code: it was not.
   */
  async publish(topic, data, { key = randomKey(), timeout = this.#options.timeout } = {}) {
    if (data === undefined) throw new HubError('bad_request', 'data is missing', topic)
    const { position } = await this.#request({ type: 'publish', topic, key, data }, Math.min(timeout, KEY_LIFE), true)
    return { position }
  }

  /**
   * Reads one page of a topic's history: what came behind `since`, or from the oldest event that is kept.
   * @param {string} topic
   * @param {{since?: string, limit?: number, timeout?: number}} [options]
   * @returns {Promise<Page>}
   * @throws {HubError}
   */
  async history(topic, { since, limit, timeout = this.#options.timeout } = {}) {
    const { events, position, recovered, more = false } = await this.#request({ type: 'history', topic, since, limit }, timeout)
    return { events, position, recovered, more }
  }

  /**
   * Reads all pages: `for await (const page of hub.pages('news')) …`
   * @param {string} topic
   * @param {{since?: string, limit?: number, timeout?: number}} [options]
   * @returns {AsyncGenerator<Page, void>}
   */
  async *pages(topic, options = {}) {
    for (let since = options.since, more = true; more; ) {
      const page = await this.history(topic, { ...options, since })
      yield page
      since = page.position
      more = page.more
    }
  }

  /**
   * Reads a page of who follows a topic, of 1 to 1000 members.
   * @param {string} topic
   * @param {{limit?: number, after?: string, timeout?: number}} [options] limit is 100 by default; after is a page's `next`.
   * @returns {Promise<PresencePage>}
   * @throws {HubError}
   */
  async presence(topic, { limit, after, timeout = this.#options.timeout } = {}) {
    const { clients, users, members, next } = await this.#request({ type: 'presence', topic, limit, after }, timeout)
    return { clients, users, members, next }
  }

  /**
   * Counts who follows a topic.
   * @param {string} topic
   * @param {{timeout?: number}} [options]
   * @returns {Promise<{clients: number, users: number}>}
   * @throws {HubError}
   */
  async presenceStats(topic, { timeout = this.#options.timeout } = {}) {
    const { clients, users } = await this.#request({ type: 'presence_stats', topic }, timeout)
    return { clients, users }
  }

  // The life of a connection: #open, #welcomed, #resume, #resumed, #ready; then #ended, and #open again or #finish.

  async #open() {
    const attempt = ++this.#attempt
    clearTimeout(this.#timer)
    this.#change({ state: 'connecting' })
    try {
      const token = await this.#token(this.#why)
      if (attempt !== this.#attempt) return
      const url = new URL(this.#url)
      if (this.#ticket) url.searchParams.set('resume', this.#ticket)
      const protocols = ['hub.v1.json', ...(token ? ['bearer.' + token] : [])]
      const ws = new this.#options.WebSocket(url.href, protocols)
      this.#link = new Link(ws, this.#options, this.#received, this.#ended)
    } catch (cause) {
      if (attempt !== this.#attempt) return
      this.#tell('token', cause)
      this.#wait({ reason: 'no token' })
    }
  }

  /** @param {TokenReason} reason */
  async #token(reason) {
    const { token: given, connectTimeout } = this.#options
    const token = typeof given === 'function' ? await within(Promise.resolve(given({ reason })), connectTimeout) : given
    if (token && !/^[\w.-]+$/.test(token)) throw new TypeError('the token is no JWT: want a string of letters, digits, -, _ and dots')
    return token
  }

  /** @param {Link} link @param {Message} m */
  #received = (link, m) => {
    const t = this.#topics.get(m.topic)
    switch (m.type) {
      case 'welcome':
        return this.#welcomed(link, m)
      case 'resumed':
        return this.#resumed(link, m)
      case 'event':
        return t?.live && this.#deliver(t, m)
      case 'gap':
        return t?.live && this.#gap(t, m.position, 'live')
      case 'joined':
      case 'left':
        return t?.live && this.#moved(t, m)
      case 'presence':
      case 'presence_stats':
        if (m.id === undefined) return t?.live && t.watched && this.#whole(t, m)
        break
      case 'expires':
        return this.#expires(link, m.expires_in)
      case 'goodbye':
        link.after = m.after_ms
        return
      case 'error':
        if (m.id === undefined) return this.#refused(link, m, t)
        if (m.id === 'resume') return this.#notResumed(link, m)
    }
    if (m.id !== undefined) this.#answered(m)
    else if (m.type === 'subscribed') this.#announced(link, t ?? this.#adopt(m.topic), m)
  }

  /** @param {Link} link @param {Message} m */
  #welcomed(link, m) {
    link.watch(Math.min(Math.max(m.ping, 1), 60) * 1000)
    link.welcomed = true
    link.fresh = m.token
    this.session = m.session
    this.user = m.user
    this.node = m.node
    this.#expires(link, m.expires_in)
    this.#why = 'connect'
    const ticket = this.#ticket ?? (this.#topics.size > 0 ? m.token : undefined)
    if (ticket) return this.#resume(link, ticket)
    this.#ticket = m.token
    this.#ready(link)
  }

  /** Asks for the earlier session and all topics at once. @param {Link} link @param {string} ticket */
  #resume(link, ticket) {
    this.#tried = ticket
    /** @type {Record<string, string>} */
    const positions = Object.create(null) // a topic may be named __proto__
    const asked = (link.asked = new Map())
    const watched = []
    let size = 0
    for (const t of this.#topics.values()) {
      size += (t.watched ? 2 : 1) * t.name.length + t.since.length + 12
      if (size > this.#maxResume) break
      positions[t.name] = t.since
      asked.set(t.name, t)
      if (t.watched) watched.push(t.name)
    }
    const presence = watched.length > 0 ? watched : undefined
    link.send(JSON.stringify({ type: 'resume', id: 'resume', token: ticket, positions, presence }))
  }

  /** @param {Link} link @param {Message} m */
  #resumed(link, m) {
    this.#ticket = m.token ?? link.fresh
    this.session = m.session
    this.#expires(link, m.expires_in)
    for (const [name, answer] of Object.entries(m.topics)) {
      if (link.ended) return // by a handler
      if (answer.error) link.told.delete(name)
      const t = link.asked?.get(name)
      if (!t || this.#topics.get(name) !== t) this.#unsubscribe(name) // it was left meanwhile, perhaps to begin elsewhere
      else if (!answer.error) this.#followed(t, answer)
      else if (!answer.retry) this.#lose(t, answer.error, `the topic ${name} is not followed${t.known ? ' any more' : ''}: ${answer.error}`)
    }
    this.#ready(link)
  }

  /** The earlier session is gone, or was another user's; the positions are still good. @param {Link} link @param {Message} m */
  #notResumed(link, m) {
    if (m.retry || m.code === 'token_expired') return link.end(m.retry ? 0 : 4002, m.message)
    const again = link.fresh && this.#tried !== link.fresh && (m.code === 'bad_token' || m.code === 'forbidden')
    this.#ticket = link.fresh
    if (again && link.fresh) this.#resume(link, link.fresh)
    else this.#ready(link)
  }

  /** @param {Link} link */
  #ready(link) {
    if (link.ended) return // by a handler
    link.asked = undefined
    link.since = now()
    for (const t of this.#topics.values()) if (!t.live) this.#follow(t) // before a handler subscribes to more: each is asked for once
    this.#change({ state: 'online' })
    this.#flush()
  }

  /** @param {Link} link @param {number} code @param {string} reason */
  #ended = (link, code, reason) => {
    if (link !== this.#link) return
    this.#drop()
    if (code === 1009) this.#tooLarge(link)
    this.#queue = [...this.#flying.values(), ...this.#queue].filter((r) => !r.done)
    this.#flying.clear()
    for (const r of this.#queue) if (r.topic || r.brief) this.#settle(r)

    const lasted = link.since !== undefined && now() - link.since > STABLE
    this.#failures = lasted ? 0 : this.#failures
    const tokenEnded = code === 4001 || code === 4002
    if (tokenEnded) this.#why = code === 4001 ? 'refused' : 'expired'
    const end = FOR_GOOD.get(code) ?? (tokenEnded && typeof this.#options.token !== 'function' ? 'the token is not accepted: ' + (reason || code) : '')
    if (end) return this.#finish(code, end, new HubError('closed', end))
    const broke = link.welcomed ? 'the connection broke' : 'no connection: no hub at this URL, or it refused the handshake'
    this.#wait({ code, reason: reason || broke }, link.after, LATER.has(code), lasted)
  }

  /**
   * Waits for the next attempt: for a random time, full jitter, whose bound doubles with each failure. A hub that drains
   * has chosen the time itself.
   * @param {Omit<StateChange, 'state'>} why
   * @param {number} [after]
   * @param {boolean} [later]
   * @param {boolean} [lasted]
   */
  #wait(why, after, later, lasted) {
    const { firstDelay, longestDelay } = this.#options
    let delay = Math.random() * Math.min(longestDelay, firstDelay * 2 ** this.#failures)
    if (later) delay += Math.min(longestDelay, 5 * firstDelay)
    if (after !== undefined) delay = lasted ? after : Math.max(after, delay)
    this.#failures = Math.min(this.#failures + 1, 30)
    const retryIn = Math.min(Math.ceil(delay), DAY)
    this.#timer = setTimeout(() => this.#open(), retryIn)
    this.#change({ state: 'waiting', retryIn, ...why })
  }

  /** @param {number} code @param {string} reason @param {HubError} error */
  #finish(code, reason, error) {
    if (this.#state === 'closed') return
    globalThis.removeEventListener?.('online', this.#online)
    globalThis.removeEventListener?.('offline', this.#offline)
    this.#attempt++
    clearTimeout(this.#timer)
    this.#drop()?.end(code, reason)
    this.#queue = []
    this.#flying.clear()
    for (const t of this.#topics.values()) t.fail(error) // before a handler connects again
    const waiting = [...this.#requests] // those that it makes then are not among them
    this.#change({ state: 'closed', code, reason })
    for (const r of waiting) {
      this.#settle(r)
      if (!r.topic && !r.brief) r.reject(unknown(r) ?? error)
    }
  }

  /** Lets go of the connection. */
  #drop() {
    const link = this.#link
    this.#link = undefined
    clearTimeout(this.#refresh)
    for (const t of this.#topics.values()) t.live = false
    return link
  }

  // The browser's word on the network is a hint: it is wrong about loopback, and late about everything else.

  #online = () => {
    this.#link?.probe()
    if (this.#state !== 'waiting') return
    clearTimeout(this.#timer)
    const retryIn = Math.ceil(Math.random() * this.#options.firstDelay)
    this.#timer = setTimeout(() => this.#open(), retryIn)
    this.#change({ state: 'waiting', reason: 'the network is back', retryIn })
  }

  #offline = () => this.#link?.probe()

  // Tokens.

  /**
   * Renews the token in time: when three quarters of its rest are over, or a little later, since many clients connect
   * together.
   * @param {Link} link @param {number} [seconds]
   */
  #expires(link, seconds) {
    if (link.renewing) return
    clearTimeout(this.#refresh)
    if (seconds === undefined || typeof this.#options.token !== 'function') return
    const wait = seconds * 1000 * (0.75 + 0.15 * Math.random())
    this.#refresh = setTimeout(() => (wait > DAY ? this.#expires(link, seconds - DAY / 1000) : this.#renew(link, 'refresh')), Math.min(wait, DAY))
  }

  /** @param {Link} link @param {TokenReason} reason */
  async #renew(link, reason, failures = 0) {
    if (link.ended || (link.renewing && failures === 0)) return
    link.renewing = true
    try {
      const token = await this.#token(reason)
      if (link.ended) return
      const { expires_in } = await this.#brief({ type: 'auth', token })
      link.renewing = false
      this.#expires(link, expires_in)
    } catch (cause) {
      if (link.ended) return
      this.#tell('token', cause)
      const bound = Math.min(this.#options.longestDelay, this.#options.firstDelay * 2 ** failures)
      this.#refresh = setTimeout(() => this.#renew(link, reason, failures + 1), bound * (0.5 + 0.5 * Math.random()))
    }
  }

  // Topics.

  /** A topic that nobody here asked for. @param {string} name */
  #adopt(name) {
    const t = new Topic(name)
    this.#topics.set(name, t)
    return t
  }

  /** @param {Topic} t */
  #follow(t) {
    const link = this.#link
    const current = () => this.#topics.get(t.name) === t && !t.live
    // No promise: the first event may come right behind the answer, before a promise's turn.
    this.#enqueue({
      message: { type: 'subscribe', topic: t.name, since: t.since || undefined, presence: t.watched || undefined },
      topic: t,
      resolve: (m) => current() && this.#followed(t, m),
      reject: (error) => {
        if (error.code !== 'already_subscribed') return void (current() && this.#lose(t, error.code, error.message))
        // By the hub itself, which has said so, or is about to. A backend may still take its order back, silently.
        if (current() && link?.told.has(t.name)) this.#followed(t, t)
        else if (current()) setTimeout(() => link === this.#link && current() && this.#follow(t), this.#options.firstDelay * (0.5 + Math.random()))
        if (t.watched && this.#topics.get(t.name) === t) this.#unwatched(t, error)
      },
    })
  }

  /**
   * The hub follows a topic by itself: the user's own, or by a backend's order. Where a resume has named the topic, its answer
   * says where it goes on, and all events behind that come anew.
   * @param {Link} link @param {Topic} t @param {Message} m
   */
  #announced(link, t, m) {
    link.told.add(t.name)
    // Whether a backend's order recovered says nothing of where this client left off.
    if (link.asked?.get(t.name) !== t) this.#followed(t, { ...m, recovered: m.position !== undefined && m.position === t.since })
  }

  /** @param {Topic} t @param {Message} m Without `recovered` it goes on from now on, wherever it was left. */
  #followed(t, m) {
    const since = t.since
    this.#link?.told.add(t.name)
    t.live = t.known = true
    t.settle()
    t.position = m.position && m.position !== '0' ? m.position : ''
    if (since && m.recovered !== true) this.#gap(t, m.position, 'return')
    if (t.live && m.clients !== undefined) this.#whole(t, m) // a handler may have closed all
  }

  /** @param {Topic} t @param {Subscription} s */
  #leave(t, s) {
    if (!t.subscriptions.delete(s) || t.subscriptions.size > 0 || this.#topics.get(t.name) !== t) return
    this.#topics.delete(t.name)
    if (this.#state === 'online' || t.live) this.#unsubscribe(t.name) // live before it is online: left by a handler of what resumed told
  }

  /** @param {string} topic */
  #unsubscribe(topic) {
    const link = this.#link
    const resolve = () => link?.told.delete(topic)
    const reject = () => {} // it was not followed, or is the user's own
    this.#send(this.#make({ message: { type: 'unsubscribe', topic }, brief: true, resolve, reject }))
  }

  /** @param {Topic} t @param {string} code @param {string} message */
  #lose(t, code, message) {
    this.#topics.delete(t.name)
    t.live = false
    t.presence = undefined
    const error = new HubError(code, message, t.name)
    t.fail(error)
    this.#each(t, (s) => this.#blame(s, error))
  }

  /**
   * Calls f for all subscriptions of t but those that a handler ends meanwhile, or begins.
   * @param {Topic} t @param {(s: Subscription) => void} f
   */
  #each(t, f) {
    for (const s of [...t.subscriptions]) if (t.subscriptions.has(s)) f(s)
  }

  /** @param {Subscription} s @param {HubError} error */
  #blame({ options }, error) {
    if (options.onError) this.#call(options.onError, error)
    else this.#emit('error', error)
  }

  /** @param {Topic} t @param {Message} m */
  #deliver(t, m) {
    if (m.position) t.position = m.position
    /** @type {HubEvent} */
    const event = { topic: t.name, data: m.data, position: m.position }
    this.#each(t, (s) => this.#call(s.onEvent, m.data, event))
    this.#emit('event', event)
  }

  /** @param {Topic} t @param {string | undefined} position @param {Gap['reason']} reason */
  #gap(t, position, reason) {
    if (position) t.position = position
    /** @type {Gap} */
    const gap = { topic: t.name, position, reason }
    this.#each(t, ({ options }) => options.onGap && this.#call(options.onGap, gap))
    this.#emit('gap', gap)
  }

  /** An error that answers nothing. @param {Link} link @param {Message} m @param {Topic} [t] */
  #refused(link, m, t) {
    const watched = this.#topics.get(m.presence)
    if (m.topic !== undefined) {
      link.told.delete(m.topic)
      if (t?.live) this.#lose(t, m.code, m.message) // one that was asked for meanwhile has an answer of its own
    } else if (m.presence !== undefined) watched?.watched && this.#unwatched(watched, { code: m.code, message: m.message })
    else if (m.code === 'token_expired' && typeof this.#options.token === 'function') this.#renew(link, 'expired')
    else this.#emit('error', new HubError(m.code, m.message))
  }

  // Presence.

  /** All members anew, or how many they are. @param {Topic} t @param {Message} m */
  #whole(t, { clients, users, members }) {
    /** @type {Presence} */
    const p = { clients, users, members: members && new Map(members.map((/** @type {Member} */ one) => [one.session, one])) }
    t.presence = p
    this.#each(t, (s) => this.#show(p, s)) // one that a handler adds is told by itself
  }

  /** @param {Topic} t @param {Message} m */
  #moved(t, { type, topic, first = false, last = false, session, ...rest }) {
    const p = t.presence
    if (!p) return
    /** @type {PresenceChange} */
    const change = { type, member: { session, since: rest.since, ...rest }, first, last }
    p.clients += type === 'joined' ? 1 : -1
    p.users += +first - +last
    if (type === 'joined') p.members?.set(session, change.member)
    else p.members?.delete(session)
    this.#each(t, (s) => this.#show(p, s, change))
  }

  /** @param {Presence} presence @param {Subscription} s @param {PresenceChange} [change] */
  #show(presence, { options }, change) {
    if (options.onPresence) this.#call(options.onPresence, presence, change)
  }

  /** Its presence is not told any more. The topic is still followed. @param {Topic} t @param {{code: string, message: string}} why */
  #unwatched(t, { code, message }) {
    t.watched = false
    t.presence = undefined
    const error = new HubError(code, message, t.name)
    this.#each(t, (s) => s.options.onPresence && this.#blame(s, error))
  }

  // Requests.

  /**
   * A request of the app.
   * @param {Message} message @param {number} timeout @param {boolean} [publishes]
   * @returns {Promise<Message>}
   */
  async #request(message, timeout, publishes) {
    const { maxQueued, maxQueuedBytes } = this.#options
    if (this.#state === 'closed') throw isClosed()
    if (this.#waiting >= maxQueued || this.#size >= maxQueuedBytes) {
      throw new HubError('queue_full', `${maxQueued} requests or ${maxQueuedBytes} bytes wait already`)
    }
    return new Promise((resolve, reject) => this.#enqueue({ message, timeout, publishes, app: true, resolve, reject }))
  }

  /** A request that waits for its turn. @param {Asked} asked */
  #enqueue(asked) {
    this.#queue.push(this.#make(asked))
    this.#flush()
  }

  /** A request that goes at once, and ends with the connection. @param {Message} message @returns {Promise<Message>} */
  #brief(message) {
    return new Promise((resolve, reject) => this.#send(this.#make({ message, brief: true, resolve, reject })))
  }

  /** @param {Asked} asked */
  #make({ message, timeout, ...how }) {
    /** @type {Request} */
    const r = { text: JSON.stringify(message).slice(0, -1), attempts: 0, done: false, ...how }
    if (timeout) {
      const late = new HubError('timeout', `no answer in ${timeout} ms`)
      r.timer = setTimeout(() => this.#settle(r)?.reject(unknown(r) ?? late), Math.min(timeout, DAY))
    }
    this.#requests.add(r)
    this.#account(r, 1)
    return r
  }

  /** Takes r out of the account. It is answered once. @param {Request} r @returns {Request | undefined} */
  #settle(r) {
    if (r.done) return undefined
    r.done = true
    clearTimeout(r.timer)
    this.#requests.delete(r)
    this.#queue = this.#queue.filter((waiting) => waiting !== r)
    this.#account(r, -1)
    return r
  }

  /** Counts a request of the app; subscriptions are none: there may be any number. @param {Request} r @param {1 | -1} n */
  #account(r, n) {
    if (!r.app) return
    this.#waiting += n
    this.#size += n * r.text.length
  }

  #flush() {
    while (this.#state === 'online' && this.#flying.size < WINDOW) {
      const r = this.#queue.shift()
      if (!r) return
      const whose = this.user ?? this.session // the hub counts keys so
      if (r.topic && this.#topics.get(r.topic.name) !== r.topic) this.#settle(r) // it was left
      else if (r.publishes && r.sentBy !== undefined && r.sentBy !== whose) this.#settle(r)?.reject(outcomeUnknown())
      else {
        r.sentBy = whose
        this.#send(r)
      }
    }
  }

  /** @param {Request} r */
  #send(r) {
    r.attempts++
    this.#flying.set(++this.#lastID, r)
    this.#link?.send(`${r.text},"id":${this.#lastID}}`)
  }

  /** @param {Message} m */
  #answered(m) {
    const r = this.#flying.get(m.id)
    this.#flying.delete(m.id)
    if (r && !r.done) {
      if (m.type !== 'error') this.#settle(r)?.resolve(m)
      else if (m.retry && !r.brief) this.#again(r)
      else this.#settle(r)?.reject(new HubError(m.code, m.message))
    }
    this.#flush()
  }

  /** Sends r again, a while later. @param {Request} r */
  #again(r) {
    const { firstDelay, longestDelay } = this.#options
    const link = this.#link
    setTimeout(() => {
      if (r.done || ((r.topic || r.brief) && link !== this.#link)) return void this.#settle(r)
      this.#queue.push(r)
      this.#flush()
    }, Math.random() * Math.min(longestDelay, firstDelay * 2 ** Math.min(r.attempts, 10)))
  }

  /**
   * The hub closed the connection for a message over its limit: the largest one is not sent again.
   * @param {Link} link
   */
  #tooLarge(link) {
    if (link.since === undefined) this.#maxResume /= 2
    const [largest] = [...this.#flying.values()].filter((r) => !r.done).sort((a, b) => b.text.length - a.text.length)
    if (largest) this.#settle(largest)?.reject(new HubError('too_large', 'the message is larger than the hub takes'))
  }

  // The app.

  /** @param {StateChange} change */
  #change(change) {
    this.#state = change.state
    this.#emit('state', change)
  }

  /** @param {string} code @param {unknown} cause */
  #tell(code, cause) {
    this.#emit('error', new HubError(cause instanceof HubError ? cause.code : code, cause instanceof Error ? cause.message : String(cause)))
  }

  /**
   * @template {keyof HubEvents} K
   * @param {K} name @param {HubEvents[K]} detail
   */
  #emit(name, detail) {
    const all = this.#listeners.get(name)
    if (all?.size) for (const handler of all) this.#call(handler, detail)
    else if (name === 'error') console.error(detail)
  }

  /** Calls a handler of the app, whose fault is not ours. @param {(...args: any[]) => void} handler @param {any[]} args */
  #call(handler, ...args) {
    try {
      handler(...args)
    } catch (error) {
      if (this.#listeners.get('error')?.has(handler)) console.error(error)
      else this.#tell('handler', error)
    }
  }
}

/** The error of a publication that may have been sent with success, undefined for other requests. @param {Request} r */
function unknown(r) {
  return r.publishes && r.attempts > 0 ? outcomeUnknown() : undefined
}

function isClosed() {
  return new HubError('closed', 'the connection is closed')
}

function outcomeUnknown() {
  return new HubError('unknown_outcome', 'it may or may not have been published')
}
