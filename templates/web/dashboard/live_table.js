// A table whose rows change while a person looks at it. The server sends texts; nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {[phase: string, start: number, took: number, failed: boolean, title: string]} Segment */

/**
 * @typedef {object} Row
 * @property {string} key
 * @property {string} href
 * @property {string} group
 * @property {boolean} simulated
 * @property {Record<string, string>} cells
 * @property {Segment[]} bar
 */

/**
 * Set a text only where it differs, so that a selection or a screen reader is not disturbed.
 * @param {Element} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export class LiveTable {
  /** @param {HTMLElement} body the tbody */
  constructor(body) {
    this.body = body;
    this.template = /** @type {HTMLTemplateElement | null} */ (document.querySelector("template[data-row-template]"));
    this.region = /** @type {HTMLElement | null} */ (document.querySelector("[data-rows-region]"));
    this.filter = /** @type {HTMLInputElement | null} */ (document.querySelector("input[data-filter]"));
    this.group = "";
    this.span = 0;
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
    for (const row of /** @type {NodeListOf<HTMLElement>} */ (body.querySelectorAll("tr[data-key]"))) {
      this.rows.set(row.dataset.key ?? "", row);
    }
    this.filter?.addEventListener("input", () => this.applyFilter());
    this.filter?.form?.addEventListener("submit", (event) => event.preventDefault());
    this.readGroups();
  }

  /** Make the counts above the table choose rows without a new page. */
  readGroups() {
    const links = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("a[data-group]"));
    for (const link of links) {
      if (link.hasAttribute("aria-current")) this.group = link.dataset.group ?? "";
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.group = link.dataset.group ?? "";
        for (const other of links) other.toggleAttribute("aria-current", other === link);
        this.applyFilter();
      });
    }
  }

  /**
   * Show the changed rows; `order`: all keys, if rows were added or moved.
   * @param {Row[]} changed
   * @param {string[] | null} order
   * @param {number} span seconds that every bar has room for
   */
  update(changed, order, span) {
    for (const row of changed) this.fill(row);
    if (order !== null && this.template !== null) this.arrange(order);
    if (span !== this.span) {
      this.span = span;
      for (const bar of this.body.querySelectorAll("[data-bar]")) bar.setAttribute("viewBox", `0 0 ${span} 10`);
    }
    this.applyFilter();
  }

  /** @param {Row} row */
  fill(row) {
    let node = this.rows.get(row.key);
    if (node === undefined) {
      const made = this.template?.content.querySelector("tr")?.cloneNode(true);
      if (!(made instanceof HTMLElement)) return;
      made.dataset.key = row.key;
      made.querySelector("[data-bar]")?.setAttribute("viewBox", `0 0 ${this.span || 1} 10`);
      this.body.append(made);
      this.rows.set(row.key, made);
      node = made;
    }
    node.className = `g-${row.group}`;
    node.querySelector("[data-href]")?.setAttribute("href", row.href);
    const mark = node.querySelector("[data-simulated]");
    if (mark instanceof HTMLElement) mark.hidden = !row.simulated;
    for (const cell of /** @type {NodeListOf<HTMLElement>} */ (node.querySelectorAll("[data-cell]"))) {
      setText(cell, row.cells[cell.dataset.cell ?? ""] ?? "");
    }
    const bar = node.querySelector("[data-bar]");
    if (bar !== null) drawBar(bar, row.bar);
  }

  /** @param {string[]} order */
  arrange(order) {
    const wanted = new Set(order);
    for (const [key, node] of this.rows) {
      if (wanted.has(key)) continue;
      node.remove();
      this.rows.delete(key);
    }
    const nodes = order.flatMap((key) => this.rows.get(key) ?? []);
    nodes.forEach((node, place) => {
      if (this.body.children[place] !== node) this.body.insertBefore(node, this.body.children[place] ?? null);
    });
    if (this.region !== null) this.region.hidden = order.length === 0;
    document.querySelector("[data-more]")?.remove();
  }

  applyFilter() {
    const words = (this.filter?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of this.rows.values()) {
      const text = words.length > 0 ? (row.textContent ?? "").toLowerCase() : "";
      const grouped = this.group === "" || row.classList.contains(`g-${this.group}`);
      const hidden = !grouped || !words.every((word) => text.includes(word));
      if (row.hidden !== hidden) row.hidden = hidden;
    }
  }
}

/**
 * Draw the phases of a start; the rectangles that exist are moved, so that the bar grows smoothly.
 * @param {Element} bar
 * @param {Segment[]} segments
 */
function drawBar(bar, segments) {
  segments.forEach(([phase, start, took, failed, title], place) => {
    let rect = bar.children[place];
    if (rect === undefined) {
      rect = document.createElementNS(SVG, "rect");
      rect.append(document.createElementNS(SVG, "title"));
      bar.append(rect);
    }
    rect.setAttribute("class", `p-${phase}${failed ? " failed" : ""}`);
    for (const [name, value] of Object.entries({ x: start, y: 0, width: took, height: 10 })) {
      rect.setAttribute(name, String(value));
    }
    const tip = rect.querySelector("title");
    if (tip !== null) setText(tip, title);
  });
  while (bar.children.length > segments.length) bar.lastElementChild?.remove();
}
