"use strict";
// Tables: a click on a column header sorts, the text box and the list filter; numbers sort by their exact value.
const value = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent;

function compare(a, b) {
  const x = parseFloat(a), y = parseFloat(b);
  const numeric = !Number.isNaN(x) && !Number.isNaN(y);
  if (numeric) return x < y ? -1 : Number(x > y);
  if (!Number.isNaN(x) || !Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
  return a.localeCompare(b);
}

function sort(table, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  const column = header.cellIndex, body = table.tBodies[0];
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].sort((a, b) => compare(value(a, column), value(b, column)));
  body.append(...(down ? rows.reverse() : rows));
}

for (const box of document.querySelectorAll(".tablebox")) {
  const table = box.querySelector("table"), count = box.querySelector(".count");
  const text = box.querySelector("input"), choice = box.querySelector("select");
  const filter = () => {
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const fits = row.textContent.toLowerCase().includes(text.value.toLowerCase()) &&
        (!choice.value || row.classList.contains(choice.value));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${table.tBodies[0].rows.length}`;
  };
  text.addEventListener("input", filter);
  choice.addEventListener("change", filter);
  for (const header of table.tHead.rows[0].cells) header.addEventListener("click", () => sort(table, header));
  filter();

  // A point of the plot leads to its row.
  const plot = document.getElementById(box.dataset.plot);
  plot?.on?.("plotly_click", (event) => {
    const row = table.querySelector(`tr[data-tensor="${CSS.escape(event.points[0].customdata?.[0] ?? "")}"]`);
    if (!row) return;
    table.querySelector(".chosen")?.classList.remove("chosen");
    row.hidden = false;
    row.classList.add("chosen");
    row.scrollIntoView({ block: "center", behavior: "smooth" });
  });
}
