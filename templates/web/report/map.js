// The map of the sweep: one tab is shown at a time, and a cell opens its run.

/**
 * Let the tabs of the map switch its layers, and call `openRun` with the label of the run that is chosen.
 * @param {Document} document
 * @param {(label: string) => void} openRun
 */
export function startMap(document, openRun) {
  const root = document.querySelector("[data-map]");
  if (!root) return;
  const tabs = /** @type {HTMLElement[]} */ ([...root.querySelectorAll("[role=tab]")]);
  const layers = /** @type {HTMLElement[]} */ ([...root.querySelectorAll(".layer")]);

  /** @param {number} place */
  const select = (place) => {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === place));
      tab.tabIndex = i === place ? 0 : -1;
    });
    layers.forEach((layer, i) => layer.classList.toggle("shown", i === place));
  };

  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => select(place));
    tab.addEventListener("keydown", (event) => {
      /** @type {Record<string, number>} */
      const moves = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const next = (moves[event.key] + tabs.length) % tabs.length;
      select(next);
      tabs[next].focus();
    });
  });
  select(0);

  root.addEventListener("click", (event) => {
    const cell = event.target instanceof Element ? event.target.closest("td") : null;
    const link = cell?.querySelector("a[data-run]");
    if (!(link instanceof HTMLElement)) return;
    event.preventDefault();
    openRun(link.dataset.run ?? "");
  });
  root.addEventListener("keydown", (event) => {
    const { key, target } = /** @type {KeyboardEvent} */ (event);
    const link = key === "Enter" && target instanceof Element ? target.querySelector("a[data-run]") : null;
    if (target instanceof HTMLTableCellElement && link instanceof HTMLElement) openRun(link.dataset.run ?? "");
  });
}
