// Small helpers. Text only ever enters the page through textContent and setAttribute.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children || []) if (child) node.append(child);
  return node;
}
const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

const round = (value) => Math.round(value * 10) / 10;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const minus = (text) => text.replace("-", "\u2212");
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const grouped = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });

function number(value) {
  if (value === null || Number.isNaN(value)) return "\u2013";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2212\u221e";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e12)) return minus(value.toExponential(2));
  return minus(size >= 1e4 ? whole.format(value) : grouped.format(value));
}
// Decimals with which the largest of some values shows four digits: small ones then stay comparable.
const placesOf = (values) => {
  const size = Math.max(...values.map(Math.abs));
  return size > 0 ? clamp(3 - Math.floor(Math.log10(size)), 0, 9) : 0;
};
const fixed = (value, places) => {
  const shown = Math.abs(value) < 0.5 * 10 ** -places ? 0 : value; // no minus before a zero
  return (shown > 0 ? "+" : "") + minus(shown.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places }));
};
const signed = (value) => (value > 0 ? "+" : "") + number(value);
const count = (value) => (Number.isInteger(value) || value >= 100 ? whole.format(value) : grouped.format(value));
const percent = (share, places = 1) => (Number.isFinite(share) ? minus((100 * share).toFixed(places)) + "\u202f%" : "\u2013");
const cut = (text, length) => {
  const points = Array.from(text);
  return points.length <= length ? text : points.slice(0, Math.max(length - 1, 1)).join("") + "\u2026";
};

// A text in at most so many lines, broken at spaces; what does not fit is cut.
function wrap(text, length, most) {
  const at = most > 1 && Array.from(text).length > length ? text.lastIndexOf(" ", length) : -1;
  return at > 0 ? [text.slice(0, at), ...wrap(text.slice(at + 1), length, most - 1)] : [cut(text, length)];
}

// Calls back with the width of an element now and whenever it changes.
function onWidth(host, draw) {
  let last = 0;
  const look = () => {
    const width = Math.floor(host.clientWidth);
    if (width > 0 && width !== last) { last = width; draw(width); }
  };
  new ResizeObserver(look).observe(host);
  look();
}

// Arrow buttons around a number field; `change` gets a number from 0.
function pager(back, field, next, n, change) {
  const go = (value) => {
    const at = clamp(Math.round(Number(value)) || 1, 1, n);
    field.value = String(at);
    back.disabled = at === 1;
    next.disabled = at === n;
    change(at - 1);
  };
  back.addEventListener("click", () => go(Number(field.value) - 1));
  next.addEventListener("click", () => go(Number(field.value) + 1));
  field.addEventListener("change", () => go(field.value));
  return go;
}
