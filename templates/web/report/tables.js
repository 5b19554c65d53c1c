// Tables that sort and filter. The first rows are in the page; the others come packed and are made when shown.

import { count, make, need } from "#web/report/dom.js";

/** @typedef {import("#web/report/types.d.ts").PackedCell} PackedCell */
/** @typedef {import("#web/report/types.d.ts").PackedRow} PackedRow */
/**
 * A cell: its text, and the number it is sorted by (null for text). `facts`: of a packed figure, for hover.js.
 * @typedef {{ text: string, value: number | null, facts?: import("#web/report/types.d.ts").FigureFacts }} Cell
 */
/**
 * A row. `row`: its element, once it was shown. `files`: links of a packed row. `run`, `cell`: what it shows (-1: none).
 * @typedef {{ place: number, row: HTMLTableRowElement | null, cells: Cell[], files: [string, string][],
 *   run: number, cell: number, text?: string }} Item
 */

const ROWS_AT_ONCE = 40;
const ROWS_MORE = 100;
const WHOLE_UP_TO = 36; // characters; report/formats/html/tables.py has the same number
const collator = new Intl.Collator("en", { numeric: true });

/**
 * @param {PackedCell} packed
 * @returns {Cell}
 */
const cellOf = (packed) =>
  Array.isArray(packed) ? { text: packed[0], value: packed[1], facts: packed[2] } : { text: packed, value: null };

/**
 * @param {HTMLTableCellElement} element
 * @returns {Cell}
 */
const cellIn = (element) => ({
  text: element.textContent ?? "",
  value: element.dataset.value === undefined ? null : Number(element.dataset.value),
});

/**
 * Whether a cell stays on one line: short quantities, and short names without a space. The page's own rows do the same.
 * @param {Cell} cell
 */
export const keptWhole = (cell) => cell.text.length <= WHOLE_UP_TO && (!cell.text.includes(" ") || cell.value !== null);

/**
 * Give the element of a packed figure the attributes that figures of the page itself have.
 * @param {HTMLTableCellElement} element
 * @param {Cell} cell
 */
function withFacts(element, { value, facts }) {
  if (value !== null) Object.assign(element.dataset, { value, ...facts });
  return element;
}

/**
 * Return the rows in the order of a column: numbers by value, text as people sort it, missing values last both ways.
 * @template {{ place: number, cells: Cell[] }} T
 * @param {T[]} items
 * @param {number} column
 * @param {-1 | 1} direction
 * @param {boolean} numeric
 * @returns {T[]}
 */
export function sortedBy(items, column, direction, numeric) {
  const keyed = items.map((item) => {
    const { text, value } = item.cells[column];
    return { item, text, value, missing: numeric ? value === null : text === "" || text === "-" };
  });
  keyed.sort((a, b) => {
    if (a.missing || b.missing) return Number(a.missing) - Number(b.missing);
    const order = numeric ? Number(a.value) - Number(b.value) : collator.compare(a.text, b.text);
    return order * direction || a.item.place - b.item.place;
  });
  return keyed.map(({ item }) => item);
}

/** One table of the page. */
export class SortableTable {
  /**
   * @param {HTMLElement} root
   * @param {(item: Item, axis: number) => number} levelOf the level that a row's run has in an axis
   */
  constructor(root, levelOf) {
    this.root = root;
    this.levelOf = levelOf;
    this.id = root.dataset.table ?? "";
    this.body = /** @type {HTMLTableSectionElement} */ (need(root, "tbody"));
    this.heads = /** @type {HTMLElement[]} */ ([...root.querySelectorAll("thead th")]);
    this.hasFiles = this.heads[this.heads.length - 1].classList.contains("files");
    this.counter = root.querySelector(".count");
    this.more = /** @type {HTMLElement | null} */ (root.querySelector(".more"));
    this.filter = /** @type {HTMLInputElement | null} */ (root.querySelector(".filter"));
    this.facets = /** @type {HTMLSelectElement[]} */ ([...root.querySelectorAll(".facet")]);
    /** @type {Item[]} */
    this.items = [...this.body.rows].map((row, place) => ({
      place,
      row,
      cells: [...row.cells].slice(0, this.columns).map(cellIn),
      files: [],
      run: -1,
      cell: -1,
    }));
    this.column = -1;
    /** @type {-1 | 0 | 1} */
    this.direction = 0;
    this.limit = ROWS_AT_ONCE;
    this.visible = this.items;
    /** Called when other rows are shown, or in another order. */
    this.onchange = () => {};
    this.heads.slice(0, this.columns).forEach((head, column) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => this.sortBy(column));
    });
    this.filter?.addEventListener("input", () => this.update(true));
    for (const facet of this.facets) facet.addEventListener("change", () => this.update(true));
  }

  get columns() {
    return this.heads.length - (this.hasFiles ? 1 : 0);
  }

  /**
   * Add the packed rows, and the keys of all rows where there are any.
   * @param {PackedRow[]} rows
   * @param {[number, number][] | null} keys
   */
  complete(rows, keys) {
    for (const packed of rows) {
      const files = /** @type {[string, string][]} */ (this.hasFiles ? packed[packed.length - 1] : []);
      const cells = /** @type {PackedCell[]} */ (packed.slice(0, this.columns)).map(cellOf);
      this.items.push({ place: this.items.length, row: null, cells, files, run: -1, cell: -1 });
    }
    if (keys) this.items.forEach((item, place) => ([item.run, item.cell] = keys[place]));
    this.update(false);
  }

  /**
   * Sort ascending, the next time descending, then in the order of the experiment again.
   * @param {number} column
   */
  sortBy(column) {
    /** @type {Record<number, -1 | 0 | 1>} */
    const next = { 0: 1, 1: -1, [-1]: 0 };
    this.direction = column === this.column ? next[this.direction] : 1;
    this.column = column;
    this.heads.slice(0, this.columns).forEach((head, place) => {
      const direction = place === column ? this.direction : 0;
      head.setAttribute("aria-sort", direction === 0 ? "none" : direction === 1 ? "ascending" : "descending");
    });
    this.update(false);
  }

  /**
   * @param {Item} item
   * @param {string[]} words
   */
  matches(item, words) {
    const text = (item.text ??= item.cells
      .map((cell) => cell.text)
      .join(" ")
      .toLowerCase());
    return words.every((word) => text.includes(word)) && this.facets.every((facet) => this.has(item, facet));
  }

  /**
   * @param {Item} item
   * @param {HTMLSelectElement} facet
   */
  has(item, facet) {
    if (facet.value === "") return true;
    if (facet.dataset.column !== undefined) return item.cells[Number(facet.dataset.column)].text === facet.value;
    return this.levelOf(item, Number(facet.dataset.axis)) === Number(facet.value);
  }

  /** @param {boolean} fromStart */
  update(fromStart) {
    if (fromStart) this.limit = ROWS_AT_ONCE;
    const words = (this.filter?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const matching = this.items.filter((item) => this.matches(item, words));
    const { column, direction } = this;
    const numeric = direction !== 0 && this.items.some((item) => item.cells[column].value !== null);
    this.visible = direction === 0 ? matching : sortedBy(matching, column, direction, numeric);
    this.show();
    this.onchange();
  }

  show(limit = this.limit) {
    const shown = this.visible.slice(0, limit);
    this.body.replaceChildren(...shown.map((item) => (item.row ??= this.makeRow(item))));
    const all = this.items.length;
    if (this.counter) {
      this.counter.textContent =
        this.visible.length === all ? `${count(all)} rows` : `${count(this.visible.length)} of ${count(all)} rows`;
    }
    if (this.more) this.showMore(this.more, shown.length);
  }

  /**
   * @param {HTMLElement} more
   * @param {number} shown
   */
  showMore(more, shown) {
    const rest = this.visible.length - shown;
    more.hidden = rest === 0;
    if (rest === 0) return;
    const next = Math.min(ROWS_MORE, rest);
    /** @param {string} text @param {number} limit */
    const button = (text, limit) => {
      const made = make("button", { type: "button" }, text);
      made.addEventListener("click", () => {
        this.limit = limit;
        this.show();
        this.body.rows[shown]?.querySelector("a, th")?.scrollIntoView({ block: "nearest" });
      });
      return made;
    };
    const buttons = [button(`Show ${next} more`, this.limit + next)];
    if (rest > next) buttons.push(button(`Show all ${count(this.visible.length)}`, this.visible.length));
    more.replaceChildren(`${count(shown)} of ${count(this.visible.length)} rows are shown. `, ...buttons);
  }

  /**
   * Show the rows of a run, mark them and go to the first one. Filters that hide them are lifted.
   * @param {string} label as in the second column
   */
  open(label) {
    /** @param {Item} item */
    const isRun = (item) => item.cells[1].text === label;
    if (!this.visible.some(isRun)) {
      if (this.filter) this.filter.value = "";
      for (const facet of this.facets) facet.value = "";
      this.update(true);
    }
    this.limit = Math.max(this.limit, this.visible.findLastIndex(isRun) + 1);
    this.show();
    for (const { row } of this.items) row?.classList.remove("opened");
    const rows = this.visible.filter(isRun).map((item) => item.row);
    for (const row of rows) row?.classList.add("opened");
    const first = rows[0]?.cells[0];
    if (!first) return;
    first.scrollIntoView({ block: "center" });
    first.tabIndex = 0; // hover.js makes it the tab stop of the table
    first.focus({ preventScroll: true });
  }

  /** @param {Item} item */
  makeRow(item) {
    const [first, ...rest] = item.cells;
    const cells = rest.map((cell) =>
      withFacts(make("td", { className: keptWhole(cell) ? "" : "wrap" }, cell.text), cell),
    );
    const row = make("tr", {}, withFacts(make("th", { scope: "row" }, first.text), first), ...cells);
    if (this.hasFiles) {
      const links = item.files.flatMap(([name, href]) => [make("a", { href }, name), " "]);
      row.append(make("td", { className: "files" }, ...links));
    }
    return row;
  }
}
