// The threshold explorer: a threshold for each loss, and what it does. From the embedded curves only.
"use strict";

(() => {
  const slider = document.getElementById("threshold");
  if (!slider) return;
  const typed = document.getElementById("threshold-typed");
  const losses = document.getElementById("explorer-loss");
  const back = document.getElementById("explorer-back");
  const prices = ["false-accept", "false-reject"].map((id) => document.getElementById(id));
  const nothing = document.querySelector('[data-nothing="explorer"]');
  const explored = document.getElementById("explored");
  const picture = document.getElementById("explored-plot");
  const classes = document.getElementById("classes");
  const lines = [...explored.querySelectorAll("tr[data-loss]")];
  // Scores of losses have no common scale: each loss has a threshold of its own. Those that a person has moved:
  let moved = new Map();
  let colours = [];
  let setting = shown.setting;

  const percent = (share) => (100 * share).toFixed(1);
  const last = (values) => values[values.length - 1];
  const short = (value) => Number(value.toPrecision(6));

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
  const current = () => curves().find((curve) => curve.loss === losses.value) || curves()[0];
  const isDecided = (curve) => report.start.threshold !== null && shown.setting === report.start.setting && curve.loss === report.start.loss;
  const start = (curve) => (isDecided(curve) ? report.start.threshold : (curve.deployed ?? curve.best));
  const at = (curve) => moved.get(curve.loss) ?? start(curve);
  const kind = (curve) => (moved.has(curve.loss) ? "moved" : curve.deployed === null && !isDecided(curve) ? "best" : "deployed");

  function showLosses() {
    const known = new Map(curves().map((curve) => [place(curve), curve]));
    for (const row of lines) {
      const curve = known.get(Number(row.dataset.loss));
      row.hidden = !curve;
      if (curve) showLoss(row, curve);
    }
    const curve = current();
    slider.setAttribute("aria-valuetext", `${short(at(curve))}: ${curve.loss} ${percent(shares(curve, at(curve)).right)} %`);
  }

  function showLoss(row, curve) {
    const t = at(curve);
    const share = shares(curve, t);
    row.classList.toggle("current", curve === current());
    const mark = document.getElementById(`threshold-${kind(curve)}`).content.cloneNode(true);
    row.querySelector("[data-share=threshold]").replaceChildren(`${Number(t.toPrecision(4))} `, mark);
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
    button.onclick = () => {
      choose(curve.loss);
      pick(best.threshold);
    };
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
          const share = values ? read(curve.thresholds, values, at(curve)) : NaN;
          const shownShare = cell("td", values ? percent(share) : "–");
          if (values) shownShare.style.setProperty("--heat", `${100 * share}%`);
          row.append(shownShare);
        }
        return row;
      }),
    );
  }

  // A line for the threshold of each loss, in its colour; that of the loss shown is thick.
  const upright = () =>
    curves().map((curve, i) => {
      const line = curve === current() ? { width: 3 } : { width: 1.5, dash: "dot" };
      return { type: "line", x0: at(curve), x1: at(curve), y0: 0, y1: 1, yref: "paper", line: { ...line, color: colours[i] } };
    });

  function plot() {
    if (!curves().length) return;
    const { data, layout } = dressed(report.figures["threshold-curves"][shown.setting]);
    const traces = data.filter((trace) => trace.mode === "lines");
    colours = traces.map((trace) => trace.line.color);
    put(picture, traces, { ...layout, height: 260, yaxis: { ...layout.yaxis, range: [0, 1.02] }, shapes: upright() });
  }

  function show() {
    const t = at(current());
    slider.value = String(t);
    if (typed.valueAsNumber !== t) typed.value = String(moved.has(current().loss) ? t : short(t));
    back.disabled = !moved.size;
    showLosses();
    showClasses();
    if (picture.layout) Plotly.relayout(picture, { shapes: upright() });
  }

  // What a person chooses is in the address.
  function pick(value) {
    if (!Number.isFinite(value)) return;
    const { loss } = current();
    moved.set(loss, value);
    remember({ [`t-${loss}`]: String(short(value)) });
    show();
  }

  function forget() {
    remember(Object.fromEntries([...moved.keys()].map((loss) => [`t-${loss}`, ""])));
    moved = new Map();
  }

  function choose(loss) {
    losses.value = loss;
    remember({ explored: loss === report.start.loss ? "" : loss });
    arrange();
    show();
  }

  // The slider reaches all scores of the loss shown.
  function arrange() {
    const { thresholds } = current();
    const low = thresholds[0];
    const high = last(thresholds);
    slider.min = String(low);
    slider.max = String(high);
    slider.step = String(10 ** (Math.floor(Math.log10(high - low)) - 3));
  }

  function begin() {
    const known = curves();
    const empty = !known.length;
    nothing.hidden = !empty;
    explored.hidden = empty;
    for (const field of [slider, typed, losses, back, ...prices]) field.disabled = empty;
    if (empty) return;
    const wanted = losses.value || state.get("explored") || report.start.loss;
    losses.replaceChildren(...known.map((curve) => new Option(curve.loss)));
    losses.value = known.some((curve) => curve.loss === wanted) ? wanted : known[0].loss;
    arrange();
    show();
    plot();
  }

  for (const curve of report.curves.flat()) {
    const kept = Number.parseFloat(state.get(`t-${curve.loss}`));
    if (Number.isFinite(kept)) moved.set(curve.loss, kept);
  }
  slider.addEventListener("input", () => pick(short(slider.valueAsNumber)));
  typed.addEventListener("input", () => pick(typed.valueAsNumber));
  losses.addEventListener("change", () => choose(losses.value));
  back.addEventListener("click", () => {
    forget();
    show();
  });
  for (const field of prices) {
    const kept = Number.parseFloat(state.get(field.id));
    if (Number.isFinite(kept)) field.value = String(kept);
    field.addEventListener("input", () => {
      remember({ [field.id]: field.value === field.defaultValue ? "" : field.value });
      show();
    });
  }
  document.addEventListener("setting", () => {
    // What was moved is a threshold for the scores of the setting before.
    if (shown.setting !== setting) forget();
    setting = shown.setting;
    begin();
  });
  document.addEventListener("drawn", plot);
  begin();
})();
