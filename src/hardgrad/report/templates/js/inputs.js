// One control a column. Each has `set(value)` and tells `change(value)`; a value is as in the data: null is missing, "inf" an infinity,
// a date is in whole seconds since 1970.
const toNumber = (value) => (value === "inf" ? Infinity : value === "-inf" ? -Infinity : value);
const fromNumber = (value) => (value === Infinity ? "inf" : value === -Infinity ? "-inf" : value);

function valueText(column, value) {
  if (value === null) return "missing";
  if (column.kind === "datetime") return typeof value === "number" ? dateText(value).replace("T", " ") : String(value);
  if (column.kind === "categorical") return value === "" ? "(empty text)" : value;
  if (column.kind === "boolean") return value ? "true" : "false";
  return number(toNumber(value));
}
const dateText = (seconds) => {
  const time = new Date(seconds * 1000);
  return Number.isNaN(time.getTime()) || time.getUTCFullYear() < 1 || time.getUTCFullYear() > 9999 ? "" : time.toISOString().slice(0, 19);
};

function missingBox(id, name, toggled) {
  const box = el("input", { type: "checkbox", id: `${id}-missing`, "aria-label": `${name} is missing`, onchange: () => toggled(box.checked) });
  return { box, label: el("label", { class: "missing" }, box, document.createTextNode("missing")) };
}

function span(column) {
  const known = column.values.map(toNumber).filter((v) => typeof v === "number" && Number.isFinite(v)).concat(column.marks);
  let low = Math.min(...known), high = Math.max(...known);
  if (!known.length) { low = 0; high = 1; }
  if (low === high) { low -= 1; high += 1; }
  const whole = column.values.every((v) => v === null || Number.isInteger(v));
  return whole ? { low: Math.floor(low), high: Math.ceil(high), step: 1 } : { low, high, step: "any" };
}

function tickMarks(marks, low, high) {
  const picture = svg("svg", { viewBox: "0 0 200 7", preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const mark of marks) {
    const x = round(8 + (184 * (mark - low)) / (high - low));
    if (x >= 0 && x <= 200) picture.append(svg("line", { x1: x, x2: x, y1: 0, y2: 6, "vector-effect": "non-scaling-stroke" }));
  }
  return picture;
}

function numericControl(column, id, change) {
  const { low, high, step } = span(column);
  const slider = el("input", { type: "range", min: low, max: high, step, "aria-label": `${column.name}, slider` });
  const exact = el("input", { type: "text", id, inputmode: "decimal", spellcheck: "false" });
  const missing = missingBox(id, column.name, (on) => (on ? commit(null) : commit(fromNumber(Number(slider.value)))));
  const show = (value) => {
    const known = value !== null;
    slider.disabled = exact.disabled = !known;
    missing.box.checked = !known;
    exact.removeAttribute("aria-invalid");
    if (!known) { exact.value = ""; return; }
    exact.value = String(value);
    slider.value = String(clamp(toNumber(value), low, high));
  };
  const commit = (value) => { show(value); change(value); };
  slider.addEventListener("input", () => { exact.value = slider.value; exact.removeAttribute("aria-invalid"); change(Number(slider.value)); });
  exact.addEventListener("change", () => {
    const text = exact.value.trim().replace("\u2212", "-"), infinite = /^([+-]?)(inf(inity)?|\u221e)$/i.exec(text);
    const value = infinite ? (infinite[1] === "-" ? -Infinity : Infinity) : Number(text);
    if (text === "" || Number.isNaN(value)) { exact.setAttribute("aria-invalid", "true"); return; }
    commit(fromNumber(value));
  });
  return { node: el("div", { class: "entry" }, el("div", { class: "slide" }, slider, tickMarks(column.marks, low, high)), exact, missing.label), set: show };
}

function categoricalControl(column, id, change) {
  const OTHER = String(column.categories.length), MISSING = "missing";
  const list = el("select", { id }, ...column.categories.map((name, k) => el("option", { value: k, text: name === "" ? "(empty text)" : name })),
    el("option", { value: OTHER, text: "another, never seen \u2026" }), el("option", { value: MISSING, text: "missing" }));
  const other = el("input", { type: "text", class: "unseen-text", hidden: true, "aria-label": `${column.name}, a category never seen`, placeholder: "any text" });
  const read = () => (list.value === MISSING ? null : list.value === OTHER ? other.value : column.categories[Number(list.value)]);
  list.addEventListener("change", () => {
    other.hidden = list.value !== OTHER;
    if (list.value === OTHER && column.categories.includes(other.value)) other.value = "never seen";
    change(read());
  });
  other.addEventListener("input", () => change(read()));
  const set = (value) => {
    const at = column.categories.indexOf(value);
    list.value = value === null ? MISSING : at >= 0 ? String(at) : OTHER;
    other.hidden = list.value !== OTHER;
    if (list.value === OTHER) other.value = value;
  };
  return { node: el("div", { class: "entry wide-entry" }, list, other), set };
}

function booleanControl(column, id, change) {
  const box = el("input", { type: "checkbox", id, onchange: () => change(box.checked) });
  const missing = missingBox(id, column.name, (on) => { box.disabled = on; change(on ? null : box.checked); });
  const set = (value) => { missing.box.checked = value === null; box.disabled = value === null; box.checked = value === true; };
  return { node: el("div", { class: "entry wide-entry" }, box, missing.label), set };
}

function dateControl(column, id, change) {
  const { low, high } = span(column);
  const field = el("input", { type: "datetime-local", id, step: 1 });
  const slider = el("input", { type: "range", min: low, max: high, step: 1, "aria-label": `${column.name}, slider` });
  const missing = missingBox(id, column.name, (on) => { const value = on ? null : Number(slider.value); set(value); change(value); });
  const set = (value) => {
    missing.box.checked = value === null;
    field.disabled = slider.disabled = value === null;
    field.value = value === null ? "" : dateText(value);
    if (value !== null) slider.value = String(clamp(value, low, high));
  };
  field.addEventListener("change", () => {
    const seconds = Math.floor(Date.parse(field.value + "Z") / 1000);
    if (Number.isFinite(seconds)) { slider.value = String(clamp(seconds, low, high)); change(seconds); }
  });
  slider.addEventListener("input", () => { field.value = dateText(Number(slider.value)); change(Number(slider.value)); });
  return { node: el("div", { class: "entry wide-entry" }, el("div", { class: "slide" }, slider, tickMarks(column.marks, low, high)), missing.label, field), set };
}

const controls = { numeric: numericControl, categorical: categoricalControl, boolean: booleanControl, datetime: dateControl };
