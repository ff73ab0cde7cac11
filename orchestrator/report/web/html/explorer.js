// The threshold explorer: one threshold, and what it does to each loss. From the embedded curves only.
"use strict";

(() => {
  const slider = document.getElementById("threshold");
  if (!slider) return;
  const typed = document.getElementById("threshold-typed");
  const prices = ["false-accept", "false-reject"].map((id) => document.getElementById(id));
  const nothing = document.querySelector('[data-nothing="explorer"]');
  const explored = document.getElementById("explored");
  const picture = document.getElementById("explored-plot");
  const classes = document.getElementById("classes");
  const rows = [...explored.querySelectorAll("tr[data-loss]")];
  let threshold = 0;
  let isBegun = false;

  const percent = (share) => (100 * share).toFixed(1);
  const last = (values) => values[values.length - 1];

  // Linear between the kept thresholds, constant outside, as numpy.interp reads them.
  function read(thresholds, values, t) {
    if (t <= thresholds[0]) return values[0];
    if (t >= last(thresholds)) return last(values);
    let low = 0;
    let high = thresholds.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (thresholds[middle] <= t) low = middle;
      else high = middle;
    }
    const way = (t - thresholds[low]) / (thresholds[high] - thresholds[low]);
    return values[low] + way * (values[high] - values[low]);
  }

  function shares(curve, t) {
    const [own, rival, right] = [curve.own, curve.rival, curve.right].map(
      (counts) => read(curve.thresholds, counts, t) / curve.samples,
    );
    return { own, rival, right, rejected: 1 - rival - right };
  }

  const paid = () => prices.map((field) => Math.max(field.valueAsNumber, 0));

  function cheapest(curve, [falseAccept, falseReject]) {
    let best = { cost: Infinity, threshold: NaN };
    curve.thresholds.forEach((t, i) => {
      const cost = (1000 * (falseAccept * curve.rival[i] + falseReject * (curve.samples - curve.own[i]))) / curve.samples;
      if (cost < best.cost) best = { cost, threshold: t };
    });
    return best;
  }

  const curves = () => report.curves[shown.setting];
  const place = (curve) => report.losses.indexOf(curve.loss);

  function showLosses() {
    const known = new Map(curves().map((curve) => [place(curve), curve]));
    for (const row of rows) {
      const curve = known.get(Number(row.dataset.loss));
      row.hidden = !curve;
      if (curve) showLoss(row, curve);
    }
    const lead = curves().map((curve) => [shares(curve, threshold).right, curve.loss]).sort((a, b) => b[0] - a[0])[0];
    slider.setAttribute("aria-valuetext", `${threshold}: ${lead[1]} ${percent(lead[0])} %`);
  }

  function showLoss(row, curve) {
    const share = shares(curve, threshold);
    for (const part of ["right", "rival", "rejected"]) {
      row.querySelector(`.parts .${part}`).style.width = `${100 * share[part]}%`;
    }
    for (const part of ["own", "right", "rival", "rejected"]) {
      row.querySelector(`[data-share=${part}]`).textContent = percent(share[part]);
    }
    const [falseAccept, falseReject] = paid();
    const cost = 1000 * (falseAccept * share.rival + falseReject * (1 - share.own));
    row.querySelector("[data-share=cost]").textContent = Number.isFinite(cost) ? cost.toFixed(1) : "–";
    const best = cheapest(curve, [falseAccept, falseReject]);
    const button = row.querySelector("[data-cheapest]");
    button.disabled = !Number.isFinite(best.cost);
    button.textContent = button.disabled ? "–" : `t = ${Number(best.threshold.toPrecision(4))} → ${best.cost.toFixed(1)}`;
    button.onclick = () => pick(best.threshold);
  }

  function cell(kind, text, scope) {
    const made = document.createElement(kind);
    made.textContent = text;
    if (scope) made.scope = scope;
    return made;
  }

  function showClasses() {
    const known = curves();
    const head = document.createElement("tr");
    const corner = cell("th", "", "col");
    corner.append(document.getElementById(known[0].byClass ? "class-head" : "decile-head").content.cloneNode(true));
    head.append(corner, ...known.map((curve) => cell("th", curve.loss, "col")));
    classes.tHead.replaceChildren(head);
    classes.dataset.kind = known[0].byClass ? "classes" : "deciles";
    const names = [...new Set(known.flatMap((curve) => curve.classes))];
    classes.tBodies[0].replaceChildren(
      ...names.map((name) => {
        const row = document.createElement("tr");
        row.append(cell("th", name, "row"));
        for (const curve of known) {
          const values = curve.classAccuracy[curve.classes.indexOf(name)];
          const share = values ? read(curve.thresholds, values, threshold) : NaN;
          const shownShare = cell("td", values ? percent(share) : "–");
          if (values) shownShare.style.setProperty("--heat", `${100 * share}%`);
          row.append(shownShare);
        }
        return row;
      }),
    );
  }

  const lines = () => [{ type: "line", x0: threshold, x1: threshold, y0: 0, y1: 1, yref: "paper", line: { width: 2, color: isDark() ? "#D3D7DE" : "#30343B" } }];

  function plot() {
    if (!curves().length) return;
    const { data, layout } = dressed(report.figures["threshold-curves"][shown.setting]);
    const kept = { ...layout, height: 260, yaxis: { ...layout.yaxis, range: [0, 1.02] }, shapes: lines() };
    put(picture, data.filter((trace) => trace.mode === "lines"), kept);
  }

  function show() {
    showLosses();
    showClasses();
    if (picture.layout) Plotly.relayout(picture, { shapes: lines() });
  }

  // What a person chooses is in the address.
  function pick(value) {
    if (Number.isFinite(value)) remember({ t: String(Number(value.toPrecision(6))) });
    set(value);
  }

  function set(value) {
    if (!Number.isFinite(value)) return;
    threshold = value;
    slider.value = String(value);
    if (typed.valueAsNumber !== value) typed.value = String(value);
    show();
  }

  function begin() {
    const known = curves();
    const empty = !known.length;
    nothing.hidden = !empty;
    explored.hidden = empty;
    for (const field of [slider, typed, ...prices]) field.disabled = empty;
    if (empty) return;
    const low = Math.min(...known.map((curve) => curve.thresholds[0]));
    const high = Math.max(...known.map((curve) => last(curve.thresholds)));
    const step = 10 ** (Math.floor(Math.log10(high - low)) - 3);
    slider.min = String(low);
    slider.max = String(high);
    slider.step = String(step);
    const first = known[0];
    const asked = isBegun ? NaN : Number.parseFloat(state.get("t"));
    set(Number.isFinite(asked) ? asked : first.thresholds[first.right.indexOf(Math.max(...first.right))]);
    isBegun = true;
    plot();
  }

  slider.addEventListener("input", () => pick(Number(slider.valueAsNumber.toPrecision(6))));
  typed.addEventListener("input", () => pick(typed.valueAsNumber));
  for (const field of prices) {
    const kept = Number.parseFloat(state.get(field.id));
    if (Number.isFinite(kept)) field.value = String(kept);
    field.addEventListener("input", () => {
      remember({ [field.id]: field.value === "1" ? "" : field.value });
      show();
    });
  }
  document.addEventListener("setting", begin);
  document.addEventListener("drawn", plot);
  begin();
})();
