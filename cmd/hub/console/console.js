// The console: the views by the hash of the address, and the way between them.
import { askKey, forgetKey, hasKey, status } from './api.js'
import { byId, h, say } from './dom.js'
import fleet from './fleet.js'
import reasons from './reasons.js'
import settings from './settings.js'
import slow from './slow.js'
import tail from './tail.js'
import topic from './topic.js'
import tryit from './try.js'
import user from './user.js'

// A view draws itself into root, and returns a function that ends it.
const views = { fleet, user, session: user, topic, tail, slow, reasons, settings, try: tryit }
let end = () => {}

// where reads an address as in #/topic/a%2Fb?x=y.
function where() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s)
  const [view, ...rest] = path.split('/')
  let name = rest.join('/')
  try { name = decodeURIComponent(name) } catch { /* a name that is no encoding stands for itself */ }
  return { view, name, query: Object.fromEntries(new URLSearchParams(query)) }
}

function go() {
  const at = where()
  if (!Object.hasOwn(views, at.view)) at.view = 'fleet'
  end()
  status('')
  let title
  for (const a of byId('nav').children) {
    const here = a.hash === '#/' + at.view || a.hash === '#/user' && at.view === 'session'
    here ? a.setAttribute('aria-current', 'page') : a.removeAttribute('aria-current')
    if (here) {
      title = a.textContent
      a.scrollIntoView({ block: 'nearest', inline: 'nearest' })
    }
  }
  document.title = (at.name || title) + ' · wshub'
  say(document.title)
  const root = h('div.view')
  byId('main').replaceChildren(root)
  byId('main').focus({ preventScroll: true })
  end = views[at.view](root, at) ?? (() => {})
}

const showKey = () => { byId('key').textContent = hasKey() ? 'Forget the key' : 'Enter a key' }

byId('key').onclick = async () => {
  if (hasKey()) forgetKey()
  else if (!await askKey('Give an API key or a console key.')) return
  showKey()
  go()
}
document.addEventListener('key', showKey)
addEventListener('hashchange', go)
byId('skip').onclick = (e) => { e.preventDefault(); byId('main').focus() }
addEventListener('keydown', (e) => {
  if (e.key !== '/' || e.ctrlKey || e.metaKey || e.target.matches('input, textarea, select')) return
  const search = byId('main').querySelector('input[type=search]')
  if (search) { e.preventDefault(); search.focus() }
})
go()
