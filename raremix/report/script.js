"use strict";

for (const chart of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(document.getElementById(chart.dataset.spec).textContent);
  const bind = chart.parentElement.querySelector(".choices");
  vegaEmbed(chart, spec, { mode: "vega", renderer: "svg", actions: false, bind });
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

// Figures first from the largest, words first from A; what is missing stays at the end.
function sortBy(header) {
  const sorted = header.getAttribute("aria-sort");
  const down = sorted ? sorted === "ascending" : header.classList.contains("figure");
  for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = header.closest("table").tBodies[0];
  const figures = header.classList.contains("figure");
  const place = header.cellIndex;
  const rows = [...body.rows].map((row) => ({ row, key: keyOf(row.cells[place], figures) }));
  rows.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
    const order = figures ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true });
    return down ? -order : order;
  });
  body.append(...rows.map(({ row }) => row));
}

function keyOf(cell, figures) {
  if (!figures) return cell.textContent;
  return "value" in cell.dataset ? Number(cell.dataset.value) : null;
}

// On paper nothing can be unfolded.
const unfolded = [];
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not([open])")) {
    fold.open = true;
    unfolded.push(fold);
  }
});
addEventListener("afterprint", () => {
  for (const fold of unfolded.splice(0)) fold.open = false;
});
