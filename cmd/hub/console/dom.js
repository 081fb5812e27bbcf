// Elements, and how figures are written. Data enters the page as text only.

const isThere = (c) => c !== null && c !== undefined && c !== false

// h makes an element: h('td.num', { title: 'exact' }, '12'), or h('td', '12'). Members that begin with "on" are listeners, key ties it to
// its row; null and false are left out.
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split('.')
  const el = document.createElement(name)
  if (classes.length) el.className = classes.join(' ')
  if (props?.constructor !== Object) children.unshift(props)
  else for (const [k, v] of Object.entries(props)) {
    if (k === 'key') el.dataset.key = v
    else if (k.startsWith('on') || k === 'value' || k === 'checked') el[k] = v
    else if (isThere(v)) el.setAttribute(k, v === true ? '' : v)
  }
  el.append(...children.flat(Infinity).filter(isThere))
  return el
}

// entry is an input for names, which no browser should complete or mend.
export const entry = (props) => h('input', { autocomplete: 'off', spellcheck: 'false', ...props })

const listeners = ['onclick', 'oninput', 'onchange', 'onsubmit', 'onkeydown']

// draw makes parent's children those of the list. Elements that are there already are changed in place, so focus, selection,
// scroll positions and open details stay. An element with data-keep is left alone.
export function draw(parent, ...list) {
  const wanted = list.flat(Infinity).filter(isThere)
  const keyed = new Map()
  for (const el of parent.children) if (el.dataset.key !== undefined) keyed.set(el.dataset.key, el)
  let at = parent.firstChild
  for (let next of wanted) {
    if (!(next instanceof Node)) next = document.createTextNode(next)
    const key = next.dataset?.key
    let old = key === undefined ? at : keyed.get(key)
    if (old && key !== undefined && old !== at) parent.insertBefore(old, at)
    if (!old || old.nodeName !== next.nodeName || old.dataset?.key !== key) {
      parent.insertBefore(next, at)
      continue
    }
    if (old === at) at = old.nextSibling
    mend(old, next)
  }
  while (at) {
    const gone = at
    at = at.nextSibling
    gone.remove()
  }
}

function mend(old, next) {
  if (old === next) return
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data
    return
  }
  if (old.dataset.keep !== undefined) return
  for (const { name } of [...old.attributes]) if (name !== 'open' && !next.hasAttribute(name)) old.removeAttribute(name)
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value)
  for (const on of listeners) if (old[on] || next[on]) old[on] = next[on]
  if (old.nodeName !== 'SELECT' && old.nodeName !== 'TEXTAREA') draw(old, ...next.childNodes)
}

export const byId = (id) => document.getElementById(id)

// say tells those who listen to the page, not those who see it.
export function say(text) { byId('said').textContent = text }

// link leads to a view of the console; without a text the name is the text.
export const link = (view, id, text = id, query) => text ? h('a.name', { href: route(view, id, query) }, shown(text)) : '–'

// submitted has a form do something in place of going anywhere.
export function submitted(form, submit) {
  form.onsubmit = (e) => { e.preventDefault(); submit() }
  return form
}

export const form = (kind, submit, ...children) => submitted(h(kind, ...children), submit)

export const button = (label, onclick, props) => h('button', { type: 'button', onclick, ...props }, label)

export function route(view, id, query) {
  const q = new URLSearchParams(Object.entries(query ?? {}).filter(([, v]) => v)).toString()
  return '#/' + view + (id === undefined ? '' : '/' + encodeURIComponent(id)) + (q && '?' + q)
}

// name shows a text that others chose.
export const name = (text) => h('span.name', shown(text))

// shown has signs that nobody sees, or that turn the direction of writing, as escapes: two names that look alike are alike.
const shown = (text) => text.replace(/[\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => '\\u{' + c.codePointAt(0).toString(16) + '}')

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const some = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })

export function count(n) {
  if (n === undefined || n === null) return '–'
  if (n >= 1e6) return some.format(n / 1e6) + ' M'
  return n < 10 && n % 1 ? n.toFixed(1) : whole.format(n)
}

export function bytes(n) {
  if (n === undefined || n === null) return '–'
  let unit = 0
  for (; n >= 1024 && unit < 4; unit++) n /= 1024
  return some.format(n) + ' ' + ['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]
}

export function span(ms) {
  if (ms === undefined || ms === null) return '–'
  if (ms < 1000) return some.format(ms) + ' ms'
  const s = ms / 1000
  if (s < 60) return some.format(s) + ' s'
  if (s < 3600) return Math.floor(s / 60) + ' min'
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min'
  return Math.floor(s / 86400) + ' d ' + Math.floor(s % 86400 / 3600) + ' h'
}

// clock is a time of day here, with the date if it is not today's.
export function clock(t, fine) {
  const local = (d) => d.toLocaleString('sv').split(' ') // as in ISO 8601
  const d = new Date(t)
  if (isNaN(d)) return '–'
  const [day, time] = local(d)
  return (day === local(new Date())[0] ? '' : day + ' ') + time + (fine ? '.' + String(d.getMilliseconds()).padStart(3, '0') : '')
}

export const when = (t, fine) => t ? h('time', { datetime: t, title: t }, clock(t, fine)) : '–'

// spark is a line of the last values, its scale from zero to the largest.
export function spark(values, label) {
  const make = (tag, attributes) => {
    const el = document.createElementNS('http://www.w3.org/2000/svg', tag)
    for (const [k, v] of Object.entries(attributes)) el.setAttribute(k, v)
    return el
  }
  const w = 96, hi = 22, top = Math.max(...values, 1e-9), step = w / 59
  const points = values.map((v, i) => `${(w - (values.length - 1 - i) * step).toFixed(1)},${(hi - 1 - v / top * (hi - 3)).toFixed(1)}`)
  const svg = make('svg', { class: 'spark', viewBox: `0 0 ${w} ${hi}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label })
  if (points.length > 1) {
    svg.append(make('polygon', { points: `${points[0].split(',')[0]},${hi} ${points.join(' ')} ${w},${hi}` }), make('polyline', { points: points.join(' ') }))
  }
  return svg
}

// table has a row for each list of cells, elements or text. The heads of columns with figures begin with #. On a narrow page the rows of a
// wide table become cards.
export function table(caption, columns, rows, empty) {
  if (!rows.length) return h('p.empty', empty)
  const heads = columns.map((c) => h(c.startsWith('#') ? 'th.num' : 'th', { scope: 'col' }, c.replace('#', '')))
  return h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': caption }, h(columns.length < 4 ? 'table.slim' : 'table',
    h('thead', h('tr', heads)),
    h('tbody', rows.map(({ key, mark, cells }) => h('tr', { key, class: mark }, cells.map((cell, i) =>
      h(columns[i].startsWith('#') ? 'td.num' : 'td', { 'data-label': columns[i].replace('#', '') }, cell)))))))
}

// facts is a list of names and values; a value that is unknown is left out.
export const facts = (pairs) => h('dl.facts', pairs.filter(([, v]) => v !== undefined && v !== null && v !== '').map(([k, v]) => h('div', h('dt', k), h('dd', v))))

export const field = (label, input, hint) => h('label.field', h('span', label), input, hint && h('small', hint))

// logged puts rows at the end of a log, of which it keeps the last 500. A reader who is at the end stays there.
export function logged(log, rows) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30
  log.append(...rows)
  while (log.childElementCount > 500) log.firstChild.remove()
  if (atEnd) log.scrollTop = log.scrollHeight
}

// pretty is JSON over several lines; what is none stays as it is.
export function pretty(value) {
  try { return JSON.stringify(typeof value === 'string' ? JSON.parse(value) : value, null, 2) } catch { return String(value) }
}
