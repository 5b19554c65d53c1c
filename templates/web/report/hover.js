// What a figure of a table means, on hover and on focus; and the keys that move through a table.

/** @typedef {Pick<import("#web/report/types.d.ts").ReportData, "measures" | "caveats">} Meanings */

const FIGURE = "tbody :is([data-value], [data-detail])";
const GAP_PX = 6;
const DIGITS = 4;

/**
 * @param {string | undefined} text
 * @returns {string}
 */
function number(text) {
  return Number(text).toLocaleString("en-US", { maximumSignificantDigits: DIGITS });
}

/**
 * Return the heading of a cell's column: it has what all figures of the column share.
 * @param {HTMLTableCellElement} cell
 * @returns {DOMStringMap}
 */
function shared(cell) {
  const head = cell.closest("table")?.tHead?.rows[0]?.cells[cell.cellIndex];
  return head?.dataset ?? {};
}

/**
 * Return the lines of the tooltip of a figure.
 * @param {DOMStringMap} own the data of the cell
 * @param {DOMStringMap} column the data of its heading
 * @param {Meanings} meanings
 * @returns {string[]}
 */
export function linesOf(own, column, meanings) {
  if (own.detail !== undefined) return [own.detail];
  const measure = meanings.measures[own.metric ?? column.metric ?? ""];
  const unit = own.unit ?? column.unit ?? "";
  const lines = measure ? [`${measure.title}: ${measure.meaning}`] : [];
  lines.push(`${number(own.value)} ${unit}`.trim());
  if (own.low !== undefined && own.high !== undefined) {
    lines.push(`95 % CI ${number(own.low)} to ${number(own.high)}`);
  }
  if (own.n !== undefined) lines.push(`n = ${own.n}`);
  const codes = (own.caveats ?? column.caveats ?? "").split(" ").filter(Boolean);
  if (codes.length > 0) {
    lines.push(`Caveats: ${codes.map((code) => meanings.caveats[code] ?? code.replaceAll("_", " ")).join(", ")}`);
  }
  return lines;
}

/**
 * Show one tooltip for all figures, and let the arrow keys move through the tables.
 * @param {Document} document
 * @param {Meanings} meanings of metrics and caveats
 */
export function startHover(document, meanings) {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  /** @type {Element | null} */
  let shown = null;

  const hide = () => {
    shown?.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  };

  /** @param {HTMLTableCellElement} cell */
  const show = (cell) => {
    if (shown === cell) return;
    hide();
    const lines = linesOf(cell.dataset, shared(cell), meanings);
    tip.replaceChildren(
      ...lines.map((line) => {
        const row = document.createElement("div");
        row.textContent = line;
        return row;
      }),
    );
    tip.hidden = false;
    shown = cell;
    cell.setAttribute("aria-describedby", tip.id);
    place(tip, cell);
  };

  /** @param {Event} event */
  const figureOf = (event) =>
    event.target instanceof Element ? /** @type {HTMLTableCellElement | null} */ (event.target.closest(FIGURE)) : null;

  /** @param {Event} event */
  const enter = (event) => {
    const cell = figureOf(event);
    if (cell) show(cell);
    else hide();
  };

  document.addEventListener("pointerover", enter);
  document.addEventListener("focusin", enter);
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  for (const table of document.querySelectorAll(".table table")) rove(/** @type {HTMLTableElement} */ (table));
}

/**
 * Place the tooltip below a cell, or above it where there is no room, and inside the window.
 * @param {HTMLElement} tip
 * @param {Element} cell
 */
function place(tip, cell) {
  const at = cell.getBoundingClientRect();
  const size = tip.getBoundingClientRect();
  const root = tip.ownerDocument.documentElement;
  const below = at.bottom + GAP_PX;
  const top = below + size.height <= root.clientHeight ? below : at.top - GAP_PX - size.height;
  tip.style.top = `${Math.max(0, top)}px`;
  tip.style.left = `${Math.max(0, Math.min(at.left, root.clientWidth - size.width))}px`;
}

/**
 * Give the body of a table one tab stop; arrow keys, Home and End move it.
 * @param {HTMLTableElement} table
 */
function rove(table) {
  const body = table.tBodies[0];
  if (!body) return;
  /** @type {HTMLElement | null} */
  let current = null;

  /** @param {HTMLElement | undefined} cell */
  const move = (cell) => {
    if (!cell) return;
    current?.removeAttribute("tabindex");
    current = cell;
    cell.tabIndex = 0;
  };
  const ensure = () => {
    if (!current?.isConnected) move(body.rows[0]?.cells[0]);
  };

  table.closest(".scroll")?.removeAttribute("tabindex"); // the cell is the tab stop now
  ensure();
  new MutationObserver(ensure).observe(body, { childList: true });
  for (const kind of ["pointerdown", "focusin"]) {
    body.addEventListener(kind, (event) => {
      const cell = event.target instanceof Element ? event.target.closest("td, th") : null;
      if (cell && cell !== current) move(/** @type {HTMLElement} */ (cell));
    });
  }
  body.addEventListener("keydown", (event) => {
    const cell = event.target;
    if (!(cell instanceof HTMLTableCellElement) || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = neighbour(body, cell, event.key);
    if (next === undefined) return;
    event.preventDefault();
    if (next === null) return;
    move(next);
    next.focus();
  });
}

/**
 * Return the cell that a key leads to; null: there is none; undefined: the key does not move.
 * @param {HTMLTableSectionElement} body
 * @param {HTMLTableCellElement} cell
 * @param {string} key
 * @returns {HTMLTableCellElement | null | undefined}
 */
export function neighbour(body, cell, key) {
  const row = /** @type {HTMLTableRowElement} */ (cell.parentElement);
  const last = row.cells.length - 1;
  const line = row.sectionRowIndex;
  const at = cell.cellIndex;
  /** @type {Record<string, [number, number]>} */
  const moves = {
    ArrowLeft: [line, at - 1],
    ArrowRight: [line, at + 1],
    ArrowUp: [line - 1, at],
    ArrowDown: [line + 1, at],
    Home: [line, 0],
    End: [line, last],
  };
  const to = moves[key];
  return to && (body.rows[to[0]]?.cells[to[1]] ?? null);
}
