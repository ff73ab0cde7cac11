// The page's switches (language, theme, setting) and its figures. Everything it shows is in the page itself.
"use strict";

const report = JSON.parse(document.getElementById("report").textContent);
const root = document.documentElement;
root.classList.add("scripted");

const shown = { setting: 0 };
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function isDark() {
  const chosen = root.style.colorScheme;
  if (printing || chosen === "light") return false;
  return chosen === "dark" || matchMedia("(prefers-color-scheme: dark)").matches;
}

let printing = false;

// A figure in the colours of the theme and the words of the language.
function dressed(figure) {
  const dark = isDark();
  const japanese = root.lang === "ja";
  return JSON.parse(JSON.stringify(figure), (key, value) => {
    if (typeof value !== "string") return value;
    if (dark && Object.hasOwn(report.colours, value)) return report.colours[value];
    if (japanese && (key === "text" || key === "name") && Object.hasOwn(report.words, value)) return report.words[value];
    return value;
  });
}

function arranged(layout) {
  const dark = isDark();
  const [ink, grid, paper] = dark ? ["#D3D7DE", "#3A4049", "#20242B"] : ["#30343B", "#DDE0E5", "#FFFFFF"];
  const axes = Object.keys(layout).filter((key) => /^[xy]axis/.test(key));
  const colours = { gridcolor: grid, linecolor: grid, tickcolor: grid };
  return {
    ...layout,
    ...Object.fromEntries(axes.map((key) => [key, { ...colours, ...layout[key], title: { ...layout[key].title, font: { size: 13 } } }])),
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
    hoverlabel: { bgcolor: paper, bordercolor: grid, font: { color: ink } },
    dragmode: false,
  };
}

// The place has the figure's height from the start, so that nothing moves and nothing overlaps while it is drawn.
function put(place, data, layout) {
  place.style.height = `${layout.height}px`;
  Plotly.react(place, data, arranged(layout), { displayModeBar: false, responsive: true });
}

function draw(place) {
  const name = place.dataset.figure;
  const figures = report.figures[name];
  const figure = figures[figures.length > 1 ? shown.setting : 0];
  place.hidden = !figure;
  document.querySelector(`[data-nothing="${name}"]`).hidden = Boolean(figure);
  if (!figure) return;
  const { data, layout } = dressed(figure);
  put(place, data, layout);
}

function drawAll() {
  all("[data-figure]").forEach(draw);
  document.dispatchEvent(new CustomEvent("drawn"));
}

// Pressed buttons of a group show what is chosen.
function press(buttons, chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
}

const languages = all("[data-language]");
for (const button of languages) {
  button.addEventListener("click", () => {
    root.lang = button.dataset.language;
    press(languages, button);
    drawAll();
  });
}

const themes = all("button[data-theme]");
for (const button of themes) {
  button.addEventListener("click", () => {
    root.style.colorScheme = button.dataset.theme;
    press(themes, button);
    drawAll();
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

// One choice of a setting for the whole page: every select follows.
function choose(setting) {
  shown.setting = setting;
  for (const select of all("[data-setting-select]")) select.value = String(setting);
  for (const body of all(".by-setting tbody")) body.hidden = Number(body.dataset.setting) !== setting;
  drawAll();
  document.dispatchEvent(new CustomEvent("setting"));
}
for (const select of all("[data-setting-select]")) {
  select.addEventListener("change", () => choose(Number(select.value)));
}

for (const radio of all("input[name=heat]")) {
  radio.addEventListener("change", () => {
    document.getElementById("heat").dataset.metric = radio.value;
  });
}

// On paper: light, and nothing folded away.
addEventListener("beforeprint", () => {
  printing = true;
  for (const details of all("details:not([open])")) {
    details.open = true;
    details.dataset.folded = "";
  }
  drawAll();
});
addEventListener("afterprint", () => {
  printing = false;
  for (const details of all("details[data-folded]")) {
    details.open = false;
    delete details.dataset.folded;
  }
  drawAll();
});

choose(0);
