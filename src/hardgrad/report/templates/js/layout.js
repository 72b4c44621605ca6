// Where the parts of one tree stand: bands from left to right where there is room, an outline on a phone.
const forest = data.forest;
const LEAF = -1;
const isLeaf = (node) => forest.left[node] === LEAF;
const treeCount = forest.offset.length - 1;
const parent = new Int32Array(forest.left.length).fill(-1);
const leavesBelow = new Int32Array(forest.left.length);
for (let node = forest.left.length - 1; node >= 0; node--) {
  if (isLeaf(node)) { leavesBelow[node] = 1; continue; }
  leavesBelow[node] = leavesBelow[forest.left[node]] + leavesBelow[forest.right[node]];
  parent[forest.left[node]] = node;
  parent[forest.right[node]] = node;
}

// The size of a node: its rows, or its leaves where no rows were counted.
const sizeOf = (node, root) => (forest.rows[root] > 0 ? forest.rows[node] / forest.rows[root] : leavesBelow[node] / leavesBelow[root]);

function preorder(root) {
  const order = [], stack = [[root, 0]];
  while (stack.length) {
    const [node, depth] = stack.pop();
    order.push({ node, depth });
    if (!isLeaf(node)) stack.push([forest.right[node], depth + 1], [forest.left[node], depth + 1]);
  }
  return order;
}

// Bands: x by depth, y by leaves in order; a node is a bar as high as its share of rows, its bands leave it stacked.
function flowLayout(tree, width) {
  const root = forest.offset[tree];
  const order = preorder(root);
  const depth = Math.max(...order.map((item) => item.depth));
  const thick = clamp(leavesBelow[root] * 14, 90, 220);
  const column = depth ? Math.max(124, (width - 150) / depth) : 0;
  const at = new Map();
  let y = 22;
  for (const { node, depth: level } of order) {
    const high = Math.max(sizeOf(node, root) * thick, 0.75);
    at.set(node, { node, level, x: 2 + level * column, high });
    if (isLeaf(node)) {
      const slot = Math.max(high + 8, 24) + (level < depth ? 14 : 0); // a question may follow below in its column
      at.get(node).y = y + slot / 2;
      y += slot;
    }
  }
  for (const { node } of [...order].reverse()) {
    if (!isLeaf(node)) at.get(node).y = (at.get(forest.left[node]).y + at.get(forest.right[node]).y) / 2;
  }
  // A thick node near the edge of the picture may reach over it: make room.
  const boxes = [...at.values()];
  const above = Math.max(0, ...boxes.map((b) => 20 - (b.y - b.high / 2)));
  for (const box of boxes) box.y += above;
  const bottom = Math.max(...boxes.map((b) => b.y + b.high / 2)) + 12;
  return { at, column, width: depth * column + 150, height: bottom };
}

function outlineLayout(tree, width) {
  const order = preorder(forest.offset[tree]);
  const at = new Map();
  const step = Math.max(8, Math.min(16, (width - 230) / Math.max(1, ...order.map((item) => item.depth))));
  order.forEach(({ node, depth }, k) => at.set(node, { node, level: depth, x: 6 + depth * step, y: 16 + k * 25 }));
  return { at, step, width, height: order.length * 25 + 10 };
}
