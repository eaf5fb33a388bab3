"use strict";
/* Tables that are sorted by their heads and filtered by a word. Without it they are plain tables. */
const FEWEST = { sort: 3, filter: 8 };

/* The number that a field begins with, with a real minus or commas, or none. */
function amount(cell) {
  if (cell.dataset.by !== undefined) return Number(cell.dataset.by);
  const text = cell.textContent.trim().replace(/−/g, "-").replace(/,(?=\d{3})/g, "");
  const found = text.match(/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?/i);
  return found ? Number(found[0]) : NaN;
}

function compare(one, other) {
  const a = amount(one), b = amount(other);
  if (!isNaN(a) && !isNaN(b)) return a - b;
  if (isNaN(a) !== isNaN(b)) return isNaN(a) ? 1 : -1;
  return one.textContent.localeCompare(other.textContent, undefined, { numeric: true });
}

function sortable(table) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => compare(a.cells[at], b.cells[at]));
      body.append(...(down ? rows.reverse() : rows));
    });
  });
}

function filterable(table) {
  const place = table.closest(".scroll"), rows = [...table.tBodies[0].rows];
  const label = document.createElement("label"), input = document.createElement("input");
  const told = document.createElement("output");
  input.type = "search";
  label.className = "filter";
  label.append("Rows with ", input, " ", told);
  input.setAttribute("aria-label", `Show rows of “${table.caption.textContent}” that hold`);
  place.before(label);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      n += !row.hidden;
    }
    told.textContent = words.length ? `${n} of ${rows.length}` : "";
  });
}

for (const table of document.querySelectorAll(".scroll > table")) {
  const n = table.tBodies[0].rows.length;
  if (n >= FEWEST.sort) sortable(table);
  if (n >= FEWEST.filter) filterable(table);
}

/* A link to what is folded unfolds it. */
function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", unfold);
if (location.hash) unfold();
/* On a narrow screen contents and further claims wait until they are asked for. */
if (innerWidth < 704) for (const at of document.querySelectorAll("details.on-wide")) at.open = false;
