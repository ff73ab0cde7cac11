// The table of results: sorted by a head, filtered by axis and verdict, saved as CSV or JSON. Its state is in the address.
"use strict";

(() => {
  const AT_ONCE = 100;
  const { columns, rows, heads } = report.results;
  const table = document.getElementById("results-table");
  const more = document.getElementById("results-more");
  const count = document.getElementById("results-count");
  const filters = Object.fromEntries([...document.getElementById("filters").elements].filter((each) => each.name).map((each) => [each.name, each]));
  const place = Object.fromEntries(columns.map((name, i) => [name, i]));
  let sort = state.get("sort") || "";
  let shownRows = AT_ONCE;

  const said = (text) => (root.lang === "ja" && Object.hasOwn(report.words, text) ? report.words[text] : text);
  const values = (row, name) => (name === "verdict" ? row[place.verdict].split(", ").filter(Boolean) : [row[place[name]]]);

  function offer(name, select) {
    const found = [...new Set(rows.flatMap((row) => values(row, name)))];
    const all = document.createElement("option");
    all.value = "";
    all.textContent = said("All");
    select.replaceChildren(all, ...found.map((value) => {
      const option = document.createElement("option");
      option.value = value;
      option.textContent = name === "verdict" ? said(value) : value;
      return option;
    }));
    select.value = state.get(name) || "";
    if (select.selectedIndex < 0) select.value = "";
    select.disabled = found.length < 2;
  }

  function chosen() {
    const wanted = Object.entries(filters).filter(([, select]) => select.value);
    const found = rows.filter((row) => wanted.every(([name, select]) => values(row, name).includes(select.value)));
    if (!sort) return found;
    const down = sort.startsWith("-");
    const key = place[sort.replace("-", "")];
    const missing = (value) => value === null || value === "";
    return found.sort((one, other) => {
      const [a, b] = [one[key], other[key]];
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
      return down ? -order : order;
    });
  }

  function judged(text) {
    const end = text.lastIndexOf(": ") + 2;
    return text.slice(0, end) + said(text.slice(end));
  }

  function written(row, head) {
    const value = row[place[head.key]];
    if (value === null || value === "") return "–";
    if (head.key === "claims") return value.split("; ").map(judged).join("; ");
    if (head.factor) return `${head.signed && value > 0 ? "+" : ""}${(head.factor * value).toFixed(head.digits)}`;
    return String(value);
  }

  function headOf(head) {
    const made = document.createElement("th");
    made.scope = "col";
    if (head.isText) made.className = "text";
    const by = sort.replace("-", "") === head.key;
    made.setAttribute("aria-sort", by ? (sort.startsWith("-") ? "descending" : "ascending") : "none");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.sort = head.key;
    button.textContent = `${root.lang === "ja" ? head.ja : head.en}${by ? (sort.startsWith("-") ? " ↓" : " ↑") : ""}`;
    made.append(button);
    return made;
  }

  function show() {
    const found = chosen();
    const focused = document.activeElement?.dataset?.sort;
    const line = document.createElement("tr");
    line.append(...heads.map(headOf));
    table.tHead.replaceChildren(line);
    if (focused) table.querySelector(`[data-sort="${CSS.escape(focused)}"]`)?.focus();
    const some = printing ? found : found.slice(0, shownRows);
    table.tBodies[0].replaceChildren(...some.map((row) => {
      const made = document.createElement("tr");
      made.append(...heads.map((head, i) => {
        const cell = document.createElement(i ? "td" : "th");
        if (!i) cell.scope = "row";
        cell.textContent = written(row, head);
        if (head.isText) cell.className = "text";
        return cell;
      }));
      return made;
    }));
    more.hidden = printing || found.length <= shownRows;
    count.textContent = said("Rows: {shown} of {all}").replace("{shown}", some.length).replace("{all}", rows.length);
  }

  function change() {
    shownRows = AT_ONCE;
    remember({ sort, ...Object.fromEntries(Object.entries(filters).map(([name, select]) => [name, select.value])) });
    show();
  }

  const quoted = (value) => (value === null ? "" : /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const forms = {
    csv: (found) => [columns, ...found].map((row) => row.map(quoted).join(",")).join("\n") + "\n",
    json: (found) => JSON.stringify(found.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]]))), null, 1),
  };

  function save(form) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([forms[form](chosen())], { type: form === "csv" ? "text/csv" : "application/json" }));
    link.download = `results.${form}`;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  table.tHead.addEventListener("click", (event) => {
    const key = event.target.dataset.sort;
    if (!key) return;
    // Numbers first from the highest, names from the first.
    const [first, second] = heads.find((head) => head.key === key).factor ? [`-${key}`, key] : [key, `-${key}`];
    sort = sort === first ? second : sort === second ? "" : first;
    change();
  });
  for (const select of Object.values(filters)) select.addEventListener("change", change);
  for (const button of all("[data-save]")) button.addEventListener("click", () => save(button.dataset.save));
  more.addEventListener("click", () => {
    shownRows += AT_ONCE;
    show();
  });
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  const spoken = () => {
    for (const [name, select] of Object.entries(filters)) {
      const kept = select.value;
      offer(name, select);
      select.value = kept;
    }
    show();
  };
  for (const [name, select] of Object.entries(filters)) offer(name, select);
  document.addEventListener("language", spoken);
  document.addEventListener("printing", show);
  show();
})();
