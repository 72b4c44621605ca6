// The row explorer and what-if panel. Every answer comes from the exported model above.
const classifies = forest.task === "classification";
const binary = classifies && forest.classes.length === 2;

// A row as the exported model takes it: raw columns by name, dates in seconds.
function toModel(columns, values) {
  return Object.fromEntries(columns.map((column, k) => [column.name, column.kind === "categorical" ? values[k] : toNumber(values[k])]));
}

function judge(columns, values) {
  const row = toModel(columns, values);
  const scores = model.raw(row), shares = classifies ? model.probabilities(row) : null;
  const answer = model.predict(row);
  const top = !classifies ? 0 : binary ? 1 : shares.indexOf(Math.max(...shares));
  return { scores, shares, answer: classifies ? String(answer) : answer, leaf: model.leaves(row), paths: model.paths(row), top, axis: classifies ? shares[top] : scores[0] };
}

function startExplorer() {
  const { columns, n, observed } = data.explorer;
  for (const column of columns) {
    if (column.categories) column.values = column.values.map((value) => (typeof value === "number" ? column.categories[value] : value));
  }
  const original = (row) => columns.map((column) => column.values[row]);
  const all = Array.from({ length: n }, (_, row) => judge(columns, original(row)));
  const state = { row: 0, values: original(0), before: all[0], now: all[0], tree: 0 };
  const fields = columns.map((column, k) => makeField(column, k, (value) => { state.values[k] = value; update(); }));
  const used = fields.filter((_, k) => columns[k].used).map((field) => field.node), unused = fields.filter((_, k) => !columns[k].used).map((field) => field.node);
  const open = used.length > 14 ? 12 : used.length; // the most important columns stand in the open
  const fold = (nodes, what) => nodes.length && $("fields").append(el("details", null, el("summary", { text: `${nodes.length} ${nodes.length === 1 ? "column" : "columns"} ${what}` }), ...nodes));
  $("fields").append(...used.slice(0, open));
  fold(used.slice(open), "that matter less");
  fold(unused, "that no tree tests");
  $("fields").addEventListener("submit", (event) => event.preventDefault());

  const strip = makeStrip(all, observed, (row) => go(row + 1));
  const update = () => {
    state.now = judge(columns, state.values);
    const first = original(state.row);
    let changes = 0;
    fields.forEach((field, k) => {
      const changed = state.values[k] !== first[k];
      changes += changed;
      field.node.classList.toggle("changed", changed);
      field.was.textContent = changed ? `was ${valueText(columns[k], first[k])}` : "";
    });
    $("row-reset").disabled = !changes;
    showAnswer(state.now, state.before, changes);
    showVotes(state);
    strip.move(state.row, state.before.axis, state.now.axis);
    showPath(state);
  };
  const select = (row) => {
    state.row = row;
    state.values = original(row);
    state.before = all[row];
    fields.forEach((field, k) => field.set(state.values[k]));
    $("row-observed").textContent = observed ? `observed: ${classifies ? observed[row] : observed[row].map(number).join(", ")}` : "";
    update();
  };
  const go = pager($("row-back"), $("row-number"), $("row-next"), n, select);
  $("row-reset").addEventListener("click", () => select(state.row));
  $("votes").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    state.tree = Number(button.dataset.tree);
    showVotes(state);
    showPath(state);
    $("votes").querySelector(`[data-tree="${state.tree}"]`).focus();
  });
  go(1);
  onWidth($("path-view"), () => showPath(state));
}

function makeField(column, k, change) {
  const id = `field-${k}`, control = controls[column.kind](column, id, change);
  const was = el("span", { class: "was-value" });
  const node = el("div", { class: "field" + (column.used ? "" : " unused") }, el("label", { for: id }, document.createTextNode(column.name), was), control.node);
  node.dataset.column = column.name;
  return { node, was, set: control.set };
}

// All sample rows on the axis of the prediction; a filled dot is the positive class (binary) or a right answer (several classes).
function makeStrip(all, observed, choose) {
  const host = $("strip"), kind = !classifies || !observed ? "" : binary ? `\u25cf observed ${forest.classes[1]}   \u25cb not` : "\u25cf answered right   \u25cb wrong";
  const axes = all.map((item) => item.axis), low = classifies ? 0 : Math.min(...axes), high = classifies ? 1 : Math.max(...axes);
  const name = binary ? `probability of ${forest.classes[1]}` : classifies ? "probability of the answer" : forest.outputs[0];
  let x = () => 0, places = [], here = null, was = null, now = null, last = [0, 0, 0];
  const move = (row, before, after) => {
    last = [row, before, after];
    if (!here) return;
    const at = places[row];
    here.setAttribute("cx", at.x);
    here.setAttribute("cy", at.y);
    for (const [line, value] of [[was, before], [now, after]]) {
      line.setAttribute("x1", round(x(value)));
      line.setAttribute("x2", round(x(value)));
    }
  };
  onWidth(host, (width) => {
    const step = 7.4, floor = 58, lines = 7, stacks = new Map();
    x = (value) => 8 + (high > low ? clamp((value - low) / (high - low), 0, 1) : 0.5) * (width - 16);
    const picture = svg("svg", { viewBox: `0 0 ${width} 92`, width, height: 92, role: "img", "aria-label": `all sample rows by ${name}` });
    picture.append(svg("line", { x1: 4, x2: width - 4, y1: floor + 6, y2: floor + 6, class: "rule" }));
    places = all.map((item) => {
      const column = Math.round(x(item.axis) / step), level = stacks.get(column) || 0;
      stacks.set(column, level + 1);
      return { x: round(column * step), y: round(floor - (level % lines) * step) };
    });
    all.forEach((item, row) => {
      const yes = !classifies || !observed || (binary ? observed[row] === forest.classes[1] : observed[row] === item.answer);
      picture.append(svg("circle", { cx: places[row].x, cy: places[row].y, r: 3, class: yes ? "yes" : null, onclick: () => choose(row) }, svg("title", { text: `row ${row + 1}` })));
    });
    for (const share of [0, 0.5, 1]) {
      const value = low + share * (high - low);
      picture.append(svg("text", { x: x(value), y: 82, class: "tick", "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle", text: classifies ? percent(value, 0) : number(value) }));
    }
    if (width > 500) picture.append(svg("text", { x: width * 0.25, y: 82, class: "tick", "text-anchor": "middle", text: cut(name, 40) }), svg("text", { x: width * 0.75, y: 82, class: "tick", "text-anchor": "middle", text: cut(kind, 44) }));
    was = svg("line", { y1: 0, y2: floor + 10, class: "was" });
    now = svg("line", { y1: 0, y2: floor + 10, class: "now" });
    here = svg("circle", { r: 5.5, class: "here" });
    picture.append(was, now, here);
    host.replaceChildren(picture);
    move(...last);
  });
  return { move };
}

function shareBar(name, share, ghost) {
  const at = (value) => round(200 * clamp(value, 0, 1));
  return el("div", { class: "share" }, el("span", { text: name, title: name }), svg("svg", { viewBox: "0 0 200 12", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 200, height: 12 }), svg("rect", { class: "value", width: at(share), height: 12 }),
    svg("line", { class: "ghost", x1: at(ghost), x2: at(ghost), y1: 0, y2: 12, "vector-effect": "non-scaling-stroke" })), el("span", { text: percent(share) }));
}

function showAnswer(now, before, changes) {
  const host = $("answer");
  const sub = el("p", { class: "answer-sub" });
  if (classifies) {
    sub.append(document.createTextNode(changes ? (now.answer === before.answer ? "the same answer as before" : "") : "as in the row"));
    if (now.answer !== before.answer) sub.append(el("span", { class: "moved", text: `was ${before.answer}` }));
    const order = now.shares.map((share, k) => [share, k]).sort((a, b) => b[0] - a[0]).slice(0, 8).map((item) => item[1]);
    const shown = binary ? [1, 0] : order;
    host.replaceChildren(el("p", { class: "answer-main", text: now.answer }), sub, ...shown.map((k) => shareBar(forest.classes[k], now.shares[k], before.shares[k])));
    return;
  }
  const moved = now.scores.map((value, k) => value - before.scores[k]);
  if (changes) sub.append(el("span", { class: "moved", text: moved.map(signed).join(", ") }), document.createTextNode(` from ${before.scores.map(number).join(", ")}`));
  else sub.append(document.createTextNode("as in the row"));
  host.replaceChildren(el("p", { class: "answer-main", text: now.scores.map(number).join(", ") }), sub);
}

function showVotes(state) {
  const k = classifies && forest.outputs.length > 1 ? state.now.top : 0;
  const share = forest.aggregation === "mean" ? 1 / Math.max(treeCount, 1) : 1;
  const value = (leaf) => forest.leafValue[leaf][k] * share;
  const now = state.now.leaf.map(value), before = state.before.leaf.map(value);
  const reach = Math.max(...now.map(Math.abs), ...before.map(Math.abs), 1e-300);
  const decimals = placesOf(now.concat(forest.base[k] * share));
  const bar = (v) => { const wide = (98 * Math.abs(v)) / reach; return { x: round(v < 0 ? 100 - wide : 100), width: Math.max(round(wide), 0.8), height: 10 }; };
  const rows = now.map((v, tree) => el("button", { type: "button", "data-tree": tree, "aria-pressed": String(tree === state.tree) }, el("span", { text: `tree ${tree + 1}` }),
    svg("svg", { viewBox: "0 0 200 10", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", bar(v)), v !== before[tree] ? svg("rect", { ...bar(before[tree]), class: "ghost", "vector-effect": "non-scaling-stroke" }) : null, svg("line", { x1: 100, x2: 100, y1: 0, y2: 10, "vector-effect": "non-scaling-stroke" })),
    el("span", { text: fixed(v, decimals) })));
  const scroll = $("votes").scrollTop;
  $("votes-title").textContent = `What each tree adds${forest.outputs.length > 1 ? ` to ${forest.outputs[k]}` : ""}`;
  $("votes").replaceChildren(el("div", { class: "start" }, el("span", { text: "start" }), el("span", { text: fixed(forest.base[k] * share, decimals) })), ...rows,
    el("div", { class: "start" }, el("span", { text: "raw score" }), el("span", { text: fixed(state.now.scores[k], decimals) })));
  $("votes").scrollTop = scroll;
}

function showPath(state) {
  const view = $("path-view"), path = state.now.paths[state.tree];
  const k = classifies && forest.outputs.length > 1 ? state.now.top : 0;
  $("path-number").textContent = String(state.tree + 1);
  const words = [];
  path.slice(0, -1).forEach((node, step) => {
    const [short, long, opposite, column] = asks(node), at = data.explorer.order.indexOf(column);
    const missing = at >= 0 && state.values[at] === null;
    const text = missing ? `${data.explorer.columns[at].name} is missing` : forest.left[node] === path[step + 1] ? short : opposite;
    words.push(el("b", { text, title: long || short }), document.createTextNode("  \u2192  "));
  });
  $("path-words").replaceChildren(...words, el("span", { class: "arrives", text: leafText(path[path.length - 1], k) }));
  view.replaceChildren(treePicture(state.tree, view.clientWidth, k, new Set(path)));
}
