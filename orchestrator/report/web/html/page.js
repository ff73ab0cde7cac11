// The page's switches (language, theme, setting) and its figures. Everything it shows is in the page itself.
"use strict";

const report = JSON.parse(document.getElementById("report").textContent);
const root = document.documentElement;
root.classList.add("scripted");

const shown = { setting: 0 };

// What is chosen is in the address, so that a link shows the same; and the language is remembered.
const state = new URLSearchParams(location.search);
function remember(changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null) state.delete(name);
    else state.set(name, value);
  }
  const query = state.toString();
  history.replaceState(null, "", `${query ? `?${query}` : location.pathname}${location.hash}`);
}
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
    if (printing && value?.pattern) {
      // Printers make a picture of every hatched bar, and a report of 40 cells had 40 MB.
      const { pattern, ...plain } = value;
      return { ...plain, opacity: 0.45 };
    }
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
  if (!window.Plotly) return;
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
function speak(language) {
  root.lang = language;
  press(languages, languages.find((button) => button.dataset.language === language));
  document.dispatchEvent(new CustomEvent("language"));
}
for (const button of languages) {
  button.addEventListener("click", () => {
    speak(button.dataset.language);
    remember({ language: root.lang });
    try {
      localStorage.setItem("language", root.lang);
    } catch {
      // A browser may keep nothing for a file.
    }
    drawAll();
  });
}

function firstLanguage() {
  let kept = null;
  try {
    kept = localStorage.getItem("language");
  } catch {
    // As above.
  }
  const wanted = [state.get("language"), kept, ...navigator.languages].filter(Boolean).map((each) => each.slice(0, 2));
  return wanted.find((each) => languages.some((button) => button.dataset.language === each)) || "en";
}
speak(firstLanguage());

// On a phone the answer comes first, not the contents.
if (matchMedia("(max-width: 60rem)").matches) document.getElementById("contents-list").open = false;

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
  drawAll();
  document.dispatchEvent(new CustomEvent("setting"));
}
for (const select of all("[data-setting-select]")) {
  select.addEventListener("change", () => {
    choose(Number(select.value));
    remember({ setting: shown.setting === report.start.setting ? "" : shown.setting });
  });
}

for (const radio of all("input[name=heat]")) {
  radio.addEventListener("change", () => {
    document.getElementById("heat").dataset.metric = radio.value;
  });
}

// Paper has no select box: the figures of all settings stand below each other, as far as they are few.
const FEW = 12;
function printAllSettings() {
  for (const place of all("[data-figure]")) {
    const figures = report.figures[place.dataset.figure];
    if (figures.length < 2 || figures.length > FEW) continue;
    const names = [...document.querySelector("[data-setting-select]").options].map((option) => option.textContent);
    let last = place;
    figures.forEach((figure, setting) => {
      if (!figure) return;
      const title = document.createElement("p");
      title.className = "printed";
      title.textContent = names[setting];
      if (setting === shown.setting) {
        place.before(title);
        return;
      }
      const picture = document.createElement("div");
      picture.className = "plot printed";
      last.after(title, picture);
      last = picture;
      const { data, layout } = dressed(figure);
      put(picture, data, layout);
    });
  }
}

// Letters of 11 points that fit on a sheet of A4; where a decision has more, they are smaller. Japanese ones are wide.
const FIT = 2400;
addEventListener("beforeprint", () => {
  const sheet = document.querySelector(".sheet");
  const letters = sheet?.innerText.replace(/[\u3000-\uffff]/g, "xx").length;
  sheet?.style.setProperty("--fit", Math.min(1, Math.sqrt(FIT / letters)));
});

// The decision alone, without the statistics after it.
document.getElementById("print-sheet")?.addEventListener("click", () => {
  root.dataset.sheet = "";
  print();
});
addEventListener("afterprint", () => delete root.dataset.sheet);

// On paper: light, and nothing folded away.
addEventListener("beforeprint", () => {
  printing = true;
  document.dispatchEvent(new CustomEvent("printing"));
  for (const details of all("details:not([open])")) {
    details.open = true;
    details.dataset.folded = "";
  }
  drawAll();
  printAllSettings();
});
addEventListener("afterprint", () => {
  printing = false;
  for (const details of all("details[data-folded]")) {
    details.open = false;
    delete details.dataset.folded;
  }
  document.dispatchEvent(new CustomEvent("printing"));
  for (const place of all(".printed")) place.remove();
  choose(shown.setting);
});

const settings = document.querySelector("[data-setting-select]")?.options.length || 1;
const asked = Number(state.get("setting") ?? report.start.setting);
choose(asked >= 0 && asked < settings ? asked : report.start.setting);
unpacked.then(
  () => {
    drawAll();
    root.dataset.drawn = "";
  },
  () => {
    for (const place of all(".plot")) place.replaceChildren(document.getElementById("no-figures").content.cloneNode(true));
  },
);
