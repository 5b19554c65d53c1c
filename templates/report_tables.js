// Tables that sort and filter. The first rows are in the page; the others come packed and are made when shown.

const ROWS_AT_ONCE = 40;
const ROWS_MORE = 100;
const WHOLE_UP_TO = 36;
const collator = new Intl.Collator("en", { numeric: true });
const count = (n) => n.toLocaleString("en-US");

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Return the text of a packed script tag: base64 of gzip. */
async function unpack(id) {
  const letters = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** A cell: its text, and the number it is sorted by (null for text). */
const cellOf = (packed) => (Array.isArray(packed) ? { text: packed[0], value: packed[1] } : { text: packed, value: null });
const cellIn = (td) => ({ text: td.textContent, value: td.dataset.value === undefined ? null : Number(td.dataset.value) });

/** Short quantities, and short names without a space, stay on one line; the page's own rows do the same. */
const keptWhole = (cell) => cell.text.length <= WHOLE_UP_TO && (!cell.text.includes(" ") || cell.value !== null);

class SortableTable {
  constructor(root) {
    this.root = root;
    this.id = root.dataset.table;
    this.body = root.querySelector("tbody");
    this.heads = [...root.querySelectorAll("thead th")];
    this.hasFiles = this.heads.at(-1).classList.contains("files");
    this.counter = root.querySelector(".count");
    this.more = root.querySelector(".more");
    this.filter = root.querySelector(".filter");
    this.facets = [...root.querySelectorAll(".facet")];
    this.items = [...this.body.rows].map((row, place) => ({
      place,
      row,
      cells: [...row.cells].slice(0, this.columns).map(cellIn),
    }));
    this.column = -1;
    this.direction = 0;
    this.limit = ROWS_AT_ONCE;
    this.visible = this.items;
    this.onchange = null;
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

  /** Add the packed rows, and the keys of all rows where there are any. */
  complete(rows, keys) {
    for (const cells of rows) {
      const files = this.hasFiles ? cells.pop() : [];
      this.items.push({ place: this.items.length, row: null, cells: cells.map(cellOf), files });
    }
    if (keys) this.items.forEach((item, place) => ([item.run, item.cell] = keys[place]));
    this.update(false);
  }

  sortBy(column) {
    // Ascending, descending, then the order of the experiment again.
    this.direction = column === this.column ? [1, -1, 0][[0, 1, -1].indexOf(this.direction)] : 1;
    this.column = column;
    this.heads.slice(0, this.columns).forEach((head, place) => {
      const word = { 0: "none", 1: "ascending", "-1": "descending" }[place === column ? this.direction : 0];
      head.setAttribute("aria-sort", word);
    });
    this.update(false);
  }

  matches(item, words) {
    item.text ??= item.cells.map((cell) => cell.text).join(" ").toLowerCase();
    return words.every((word) => item.text.includes(word)) && this.facets.every((facet) => this.has(item, facet));
  }

  has(item, facet) {
    if (facet.value === "") return true;
    if (facet.dataset.column !== undefined) return item.cells[facet.dataset.column].text === facet.value;
    return report.data.runs[item.run].axes[facet.dataset.axis] === Number(facet.value);
  }

  sorted(items) {
    if (this.direction === 0) return items;
    const numeric = this.items.some((item) => item.cells[this.column].value !== null);
    const keyed = items.map((item) => {
      const { text, value } = item.cells[this.column];
      return { item, key: numeric ? value : text, missing: numeric ? value === null : text === "" || text === "-" };
    });
    keyed.sort((a, b) => {
      if (a.missing || b.missing) return a.missing - b.missing; // last in both directions
      const order = numeric ? a.key - b.key : collator.compare(a.key, b.key);
      return order * this.direction || a.item.place - b.item.place;
    });
    return keyed.map((one) => one.item);
  }

  update(fromStart) {
    if (fromStart) this.limit = ROWS_AT_ONCE;
    const words = (this.filter?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    this.visible = this.sorted(this.items.filter((item) => this.matches(item, words)));
    this.show();
    this.onchange?.();
  }

  show(limit = this.limit) {
    const shown = this.visible.slice(0, limit);
    this.body.replaceChildren(...shown.map((item) => (item.row ??= this.makeRow(item))));
    const all = this.items.length;
    if (this.counter) {
      this.counter.textContent =
        this.visible.length === all ? `${count(all)} rows` : `${count(this.visible.length)} of ${count(all)} rows`;
    }
    if (this.more) this.showMore(shown.length);
  }

  showMore(shown) {
    const rest = this.visible.length - shown;
    this.more.hidden = rest === 0;
    if (rest === 0) return;
    const next = Math.min(ROWS_MORE, rest);
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
    this.more.replaceChildren(`${count(shown)} of ${count(this.visible.length)} rows are shown. `, ...buttons);
  }

  makeRow(item) {
    const [first, ...rest] = item.cells;
    const tds = rest.map((cell) => make("td", { className: keptWhole(cell) ? "n" : "" }, cell.text));
    const row = make("tr", {}, make("th", { scope: "row" }, first.text), ...tds);
    if (this.hasFiles) {
      const links = item.files.flatMap(([name, href]) => [make("a", { href }, name), " "]);
      row.append(make("td", { className: "files" }, ...links));
    }
    return row;
  }
}
