// The threshold slider of a binary target: counts at every step of 1/200 were made with the page.
function startThreshold() {
  const table = data.threshold;
  if (!table) return;
  const slider = $("cut"), steps = table.tp.length - 1;
  const total = table.positive + table.negative;
  const cost = (k) => Number($("cost-fp").value) * table.fp[k] + Number($("cost-fn").value) * (table.positive - table.tp[k]);
  const at = (k) => {
    const tp = table.tp[k], fp = table.fp[k], fn = table.positive - tp, tn = table.negative - fp;
    return { tp, fp, fn, tn, precision: tp / (tp + fp), recall: tp / table.positive, f1: tp ? (2 * tp) / (2 * tp + fp + fn) : 0, accuracy: (tp + tn) / total };
  };
  const show = () => {
    const k = Math.round(Number(slider.value) * steps), now = at(k);
    $("cut-value").textContent = (k / steps).toFixed(3);
    for (const name of ["precision", "recall", "f1", "accuracy"]) $(`at-${name}`).textContent = percent(now[name]);
    for (const name of ["tp", "fp", "fn", "tn"]) $(`at-${name}`).textContent = count(now[name]);
    $("at-cost").textContent = number((1000 * cost(k)) / total);
    document.querySelectorAll("#threshold .wide svg, #threshold .narrow svg").forEach((picture) => moveCursor(picture, k / steps, now));
  };
  slider.addEventListener("input", show);
  $("cost-fp").addEventListener("input", show);
  $("cost-fn").addEventListener("input", show);
  $("cheapest").addEventListener("click", () => {
    let best = 0;
    for (let k = 1; k <= steps; k++) if (cost(k) < cost(best)) best = k;
    slider.value = String(best / steps);
    show();
  });
  show();
}

function moveCursor(picture, share, now) {
  const line = picture.querySelector(".cursor");
  const from = Number(line.dataset.from), to = Number(line.dataset.to), x = round(from + share * (to - from));
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
  const labels = [];
  for (const dot of picture.querySelectorAll(".cursor-dot")) {
    const top = Number(dot.dataset.top), bottom = Number(dot.dataset.bottom), value = now[dot.dataset.curve];
    const known = Number.isFinite(value), y = bottom - (known ? value : 0) * (bottom - top);
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", round(y));
    dot.toggleAttribute("hidden", !known);
    const label = picture.querySelector(`.cursor-label[data-curve="${dot.dataset.curve}"]`);
    label.textContent = `${dot.dataset.curve === "f1" ? "F1" : dot.dataset.curve} ${known ? Math.round(100 * value) : "\u2013"}`;
    labels.push({ label, y: y + 4 });
  }
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((item, k) => { if (k) item.y = Math.max(item.y, labels[k - 1].y + 15); });
  const over = labels.length ? Math.max(0, labels[labels.length - 1].y - Number(picture.querySelector(".cursor-dot").dataset.bottom) - 4) : 0;
  for (const { label, y } of labels) {
    label.setAttribute("x", x + 10);
    label.setAttribute("y", round(y - over));
  }
}
