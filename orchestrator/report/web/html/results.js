// The table of all results: written as far as it is seen, sorted by any of its columns, saved as CSV or JSON.
"use strict";

(() => {
  const AT_ONCE = 100;
  const table = document.getElementById("results-table");
  const more = document.getElementById("results-more");
  const count = document.getElementById("results-count");
  let sort = state.get("sort") || "";
  let shownRows = AT_ONCE;

  function chosen() {
    const found = rows.filter((row) => active().every(([name, value]) => valuesOf(row, name).includes(value)));
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
    made.dataset.key = head.key;
    if (head.isText) made.className = "text";
    const by = sort.replace("-", "") === head.key;
    made.setAttribute("aria-sort", by ? (sort.startsWith("-") ? "descending" : "ascending") : "none");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.sort = head.key;
    button.textContent = root.lang === "ja" ? head.ja : head.en;
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
    remember({ sort });
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
  for (const button of all("[data-save]")) button.addEventListener("click", () => save(button.dataset.save));
  more.addEventListener("click", () => {
    shownRows += AT_ONCE;
    show();
  });
  document.addEventListener("filter", () => {
    shownRows = AT_ONCE;
    show();
  });
  document.addEventListener("language", show);
  document.addEventListener("printing", show);
  show();
})();
