"use strict";
// Headings of tables with the class "sortable" become buttons that sort the rows: upwards, then downwards. Rows without a value stay last.
(() => {
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = Number.parseFloat(text.replaceAll(",", ""));
    return { text, number, empty: text === "" || text.startsWith("not measured") || text.startsWith("not given") };
  };
  const sort = (table, heading, column) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [key(row, column), row]);
    const numeric = keyed.every(([found]) => found.empty || !Number.isNaN(found.number));
    keyed.sort(([a], [b]) => {
      if (a.empty !== b.empty) return a.empty ? 1 : -1;
      const order = numeric ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true });
      return down ? -order : order;
    });
    body.append(...keyed.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = table.tHead ? [...table.tHead.rows[table.tHead.rows.length - 1].cells] : [];
    headings.forEach((heading, column) => {
      if (heading.textContent.trim() === "") return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, heading, column));
    });
  }
  // A link to a run opens what it is folded away in.
  const reveal = () => {
    const target = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
