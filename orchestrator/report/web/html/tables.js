// The tables of results: a head sorts the rows of each group, and one filter holds for all tables. The address keeps both.
"use strict";

const said = (text) => (root.lang === "ja" && Object.hasOwn(report.words, text) ? report.words[text] : text);

const { columns, rows, heads } = report.results;
const place = Object.fromEntries(columns.map((name, i) => [name, i]));
const valuesOf = (row, name) => (name === "verdict" ? row[place.verdict].split(", ").filter(Boolean) : [row[place[name]]]);

// What is left out: a name of an axis, or a verdict; empty for all.
const filter = Object.fromEntries(
  ["loss", "backbone", "dataset", "verdict"].map((name) => {
    const asked = state.get(name) || "";
    return [name, rows.some((row) => valuesOf(row, name).includes(asked)) ? asked : ""];
  }),
);
const active = () => Object.entries(filter).filter(([, value]) => value);

(() => {
  const selects = all("select[data-filter]");
  const tables = all("table[data-table]");
  const marked = tables.flatMap((table) => all("[data-loss], [data-backbone], [data-dataset], [data-verdict]", table));
  const groups = tables.flatMap((table) => [...table.tBodies]);

  function offer(select) {
    const name = select.dataset.filter;
    const found = [...new Set(rows.flatMap((row) => valuesOf(row, name)))];
    select.replaceChildren(...["", ...found].map((value) => {
      const option = document.createElement("option");
      option.value = value;
      option.textContent = value ? (name === "verdict" ? said(value) : value) : said("All");
      return option;
    }));
    select.value = filter[name];
    select.disabled = found.length < 2;
  }

  // What a row, a group of rows or a cell is about has to fit; what it does not say, does not matter.
  const fits = ({ dataset }) =>
    active().every(([name, value]) => !(name in dataset) || (name === "verdict" ? dataset[name].split(", ").includes(value) : dataset[name] === value));

  function isAside(group) {
    const one = group.closest(".by-setting") && !printing && !filter.backbone && !filter.dataset;
    return one && Number(group.dataset.setting) !== shown.setting;
  }

  function show() {
    for (const element of marked) element.hidden = !fits(element);
    for (const group of groups) {
      const lines = [...group.rows].filter((row) => !row.classList.contains("group"));
      group.hidden = isAside(group) || !fits(group) || (lines.length > 0 && lines.every((row) => row.hidden));
    }
    const told = active().map(([name, value]) => (name === "verdict" ? said(value) : value)).join(" · ");
    for (const summary of all("[data-filtered]")) summary.textContent = told && `: ${told}`;
  }

  for (const select of selects) {
    select.addEventListener("change", () => {
      const name = select.dataset.filter;
      filter[name] = select.value;
      for (const other of selects) if (other.dataset.filter === name) other.value = select.value;
      remember({ [name]: select.value });
      show();
      document.dispatchEvent(new CustomEvent("filter"));
    });
    select.form.addEventListener("submit", (event) => event.preventDefault());
  }

  // The number with which a cell begins, or its text; null where there is nothing.
  function valueOf(cell) {
    const text = (cell?.textContent || "").trim();
    if (!text || text === "–") return null;
    if (cell.tagName === "TH" || cell.classList.contains("text")) return text;
    const number = text.replaceAll(",", "").match(/^[✓◐<\s]*([+-]?\d+(?:\.\d+)?)/);
    return number ? Number(number[1]) : text;
  }

  function compared(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }

  function arrange(table, sort) {
    const column = Math.abs(Number(sort));
    const down = sort.startsWith("-");
    for (const head of table.tHead.rows[0].cells) {
      const chosen = sort && head.cellIndex === column;
      head.setAttribute("aria-sort", chosen ? (down ? "descending" : "ascending") : "none");
    }
    for (const group of table.tBodies) {
      const lines = [...group.rows].filter((row) => !row.classList.contains("group"));
      const keyed = lines.map((row) => [sort ? valueOf(row.cells[column]) : Number(row.dataset.place), row]);
      keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : down ? compared(b, a) : compared(a, b)));
      group.append(...keyed.map(([, row]) => row));
    }
  }

  function sortable(table) {
    const name = `sort-${table.dataset.table}`;
    let sort = state.get(name) || "";
    for (const group of table.tBodies) [...group.rows].forEach((row, i) => { row.dataset.place = i; });
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const column = String(head.cellIndex);
        const cells = [...table.tBodies].flatMap((group) => [...group.rows]).map((row) => valueOf(row.cells[head.cellIndex]));
        // Numbers first from the highest, names from the first.
        const turns = cells.some((value) => typeof value === "number") ? [`-${column}`, column] : [column, `-${column}`];
        sort = turns[turns.indexOf(sort) + 1] || "";
        remember({ [name]: sort });
        arrange(table, sort);
      });
    }
    if (sort) arrange(table, sort);
  }

  tables.forEach(sortable);
  const renew = () => {
    selects.forEach(offer);
    show();
  };
  document.addEventListener("language", renew);
  document.addEventListener("setting", show);
  document.addEventListener("printing", show);
  renew();
})();
