// Drawing one tree, the small pictures of all of them, and the pager.
// Shades run between the 3 % and 97 % quantile of the leaves, so that one extreme leaf does not make all others pale.
const shades = forest.outputs.map((_, k) => {
  const values = Object.values(forest.leafValue).map((v) => v[k]).sort((a, b) => a - b);
  return [values[Math.floor(0.03 * (values.length - 1))], values[Math.ceil(0.97 * (values.length - 1))]];
});
const leafPlaces = forest.outputs.map((_, k) => placesOf(Object.values(forest.leafValue).map((v) => v[k])));
const shade = (node, output) => {
  const [low, high] = shades[output];
  return 0.12 + 0.82 * (high > low ? clamp((forest.leafValue[node][output] - low) / (high - low), 0, 1) : 0.5);
};
const asks = (node) => forest.texts[forest.label[node]];
const leafText = (node, output) => fixed(forest.leafValue[node][output], leafPlaces[output]);

function describe(node, output) {
  const rows = forest.rows[node] > 0 ? `, ${count(forest.rows[node])} rows` : "";
  if (isLeaf(node)) return forest.leafValue[node].map((v, k) => (forest.outputs.length > 1 ? `${forest.outputs[k]} ` : "") + signed(v)).join(", ") + rows;
  const [short, long] = asks(node);
  return (long || short) + "?" + rows;
}

function flowPicture(tree, width, output, path) {
  const { at, column, width: full, height } = flowLayout(tree, width);
  const side = (node) => (path ? (path.has(node) ? " on-path" : " off-path") : "");
  const bands = svg("g"), joints = svg("g"), texts = svg("g");
  for (const box of at.values()) {
    const { node, x, y, high } = box;
    const title = svg("title", { text: describe(node, output) });
    if (isLeaf(node)) {
      joints.append(svg("rect", { x, y: round(y - Math.max(high, 5) / 2), width: 12, height: round(Math.max(high, 5)), rx: 1.5, class: "leaf fill hard" + side(node), "fill-opacity": shade(node, output).toFixed(3) }, title));
      texts.append(svg("text", { x: x + 19, y: round(y + 4), class: "says" + side(node) }, document.createTextNode(leafText(node, output)),
        forest.rows[node] > 0 ? svg("tspan", { class: "rows", dx: 6, text: count(forest.rows[node]) }) : null));
      continue;
    }
    joints.append(svg("rect", { x, y: round(y - Math.max(high, 3) / 2), width: 4, height: round(Math.max(high, 3)), class: "joint" + side(node) }, title));
    let top = y - high / 2;
    for (const child of [forest.left[node], forest.right[node]]) {
      const to = at.get(child), half = to.high / 2, mid = (x + 4 + to.x) / 2;
      const bottom = top + to.high;
      bands.append(svg("path", { class: "band" + side(child), d: `M${x + 4},${round(top)}C${round(mid)},${round(top)} ${round(mid)},${round(to.y - half)} ${round(to.x)},${round(to.y - half)}L${round(to.x)},${round(to.y + half)}C${round(mid)},${round(to.y + half)} ${round(mid)},${round(bottom)} ${x + 4},${round(bottom)}Z` },
        svg("title", { text: describe(child, output) })));
      top = bottom;
    }
    // On a thick band the question stands inside it, clear of the edge, in two lines where it is long; above a thin one.
    const room = at.get(forest.left[node]).high, inside = room >= 24;
    const lines = wrap(asks(node)[0], Math.floor((column - 12) / 6.3), room >= 40 ? 2 : 1), left = inside ? x + 10 : x;
    texts.append(svg("text", { y: round(y - high / 2 + (inside ? 16 : -6)), class: "asks" + (inside ? " inside" : "") + side(node) },
      ...lines.map((line, k) => svg("tspan", { x: left, dy: k ? 15 : null, text: line })), svg("title", { text: describe(node, output) })));
  }
  return svg("svg", { viewBox: `0 0 ${round(full)} ${round(height)}`, width: round(full), height: round(height), role: "img", "aria-label": `tree ${tree + 1}`, class: path ? "has-path" : null }, bands, joints, texts);
}

function outlinePicture(tree, width, output, path) {
  const { at, width: full, height } = outlineLayout(tree, width);
  const root = forest.offset[tree];
  const side = (node) => (path ? (path.has(node) ? " on-path" : " off-path") : "");
  const stems = svg("g"), marks = svg("g");
  for (const { node, x, y } of at.values()) {
    const up = parent[node], first = up >= 0 && forest.left[up] === node;
    if (up >= 0) {
      const from = at.get(up);
      stems.append(svg("path", { class: "stem" + side(node), "stroke-width": round(1 + 7 * sizeOf(node, root)), d: `M${round(from.x)},${from.y + 4}L${round(from.x)},${y}L${round(x + 4)},${y}` }));
    }
    const word = up < 0 ? "" : first ? "yes " : "no ";
    const rows = forest.rows[node] > 0 ? count(forest.rows[node]) : "";
    const room = Math.floor((full - x - 18 - rows.length * 6.6 - 8) / 6.3) - word.length;
    const text = svg("text", { x: round(x + (isLeaf(node) ? 18 : 10)), y: y + 4, class: (isLeaf(node) ? "says" : "asks") + side(node) }, word ? svg("tspan", { class: "rows", text: word }) : null,
      document.createTextNode(isLeaf(node) ? leafText(node, output) : cut(asks(node)[0], room)), svg("title", { text: describe(node, output) }));
    marks.append(isLeaf(node)
      ? svg("rect", { x: round(x + 3), y: y - 5, width: 10, height: 10, rx: 1.5, class: "leaf fill hard" + side(node), "fill-opacity": shade(node, output).toFixed(3) })
      : svg("circle", { cx: round(x), cy: y, r: 3.5, class: "joint" + side(node) }), text);
    if (rows) marks.append(svg("text", { x: full - 2, y: y + 4, "text-anchor": "end", class: "tick" + side(node), text: rows }));
  }
  return svg("svg", { viewBox: `0 0 ${full} ${height}`, width: full, height, role: "img", "aria-label": `tree ${tree + 1}`, class: path ? "has-path" : null }, stems, marks);
}

const treePicture = (tree, width, output = 0, path = null) =>
  (width < 620 ? outlinePicture : flowPicture)(tree, width, output, path);

// An icicle: each level is a line, each node as wide as its share of rows, leaves shaded by value.
function thumbnail(tree) {
  const root = forest.offset[tree], order = preorder(root);
  const deep = 6;
  const picture = svg("svg", { viewBox: "0 0 72 40", preserveAspectRatio: "none", "aria-hidden": "true" });
  const start = new Map([[root, 0]]);
  for (const { node, depth } of order) {
    const x = start.get(node), wide = sizeOf(node, root) * 72;
    if (!isLeaf(node)) {
      start.set(forest.left[node], x);
      start.set(forest.right[node], x + sizeOf(forest.left[node], root) * 72);
    }
    if (depth > deep || wide < 0.15) continue;
    const leaf = isLeaf(node), y = depth * 3.5;
    picture.append(svg("rect", { x: round(x), y: round(y), width: Math.max(round(wide), 0.2), height: leaf || depth === deep ? round(40 - y) : 3, class: leaf ? "fill hard" : "joint", "fill-opacity": leaf ? shade(node, output).toFixed(2) : 0.22 }));
  }
  return picture;
}

let output = 0;
function startTrees() {
  const view = $("tree-view"), buttons = [];
  let tree = 0;
  const draw = () => {
    view.replaceChildren(treePicture(tree, view.clientWidth, output));
    $("tree-note").textContent = leavesBelow[forest.offset[tree]] === 1 ? "a single leaf" : `${leavesBelow[forest.offset[tree]]} leaves`;
    buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(k === tree)));
  };
  const go = pager($("tree-back"), $("tree-number"), $("tree-next"), treeCount, (k) => { tree = k; draw(); });
  if (treeCount > 1 && treeCount <= 200) {
    for (let k = 0; k < treeCount; k++) {
      buttons.push(el("button", { type: "button", "aria-label": `Tree ${k + 1}`, onclick: () => go(k + 1) }, thumbnail(k), document.createTextNode(String(k + 1))));
    }
    $("thumbs").append(...buttons);
  } else $("thumbs").remove();
  if (forest.outputs.length > 1) {
    $("tree-output-label").hidden = false;
    $("tree-output").append(...forest.outputs.map((name, k) => el("option", { value: k, text: name })));
    $("tree-output").addEventListener("change", (event) => {
      output = Number(event.target.value);
      buttons.forEach((button, k) => button.firstChild.replaceWith(thumbnail(k)));
      draw();
    });
  }
  if (treeCount) { go(1); onWidth(view, draw); }
  addEventListener("beforeprint", () => {
    for (let k = 0; k < Math.min(treeCount, 40); k++) {
      if (k !== tree) view.parentNode.append(el("div", { class: "print-tree" }, el("h3", { text: `Tree ${k + 1}` }), flowPicture(k, 860, output, null)));
    }
  });
  addEventListener("afterprint", () => document.querySelectorAll(".print-tree").forEach((node) => node.remove()));
}
