// Printing: open what is folded, show more rows, draw every plot for paper; afterwards everything is as it was.

const ROWS_PRINTED = 500;

/**
 * @param {import("#web/report/tables.js").SortableTable[]} tables
 * @param {import("#web/report/plots.js").Plots} plots
 */
export function startPrinting(tables, plots) {
  /** @type {HTMLDetailsElement[]} */
  let folded = [];
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing");
    folded = [...document.querySelectorAll("details")].filter((part) => !part.open && !part.classList.contains("data"));
    for (const part of folded) part.open = true;
    for (const table of tables) table.show(Math.max(table.limit, ROWS_PRINTED));
    plots.drawToPrint();
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    for (const part of folded) part.open = false;
    for (const table of tables) table.show();
    plots.drawAll();
  });
}
