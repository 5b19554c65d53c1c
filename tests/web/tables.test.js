import assert from "node:assert/strict";
import { test } from "node:test";

import { open } from "./page.js";

const { SortableTable, keptWhole, sortedBy } = await import("../../templates/web/report/tables.js");

const item = (place, text, value = null) => ({ place, cells: [{ text, value }] });
const texts = (items) => items.map(({ cells }) => cells[0].text);

test("numbers sort by their value, not by their text, and missing ones are last both ways", () => {
  const items = [item(0, "1,000 ms", 1), item(1, "-"), item(2, "0.9 s", 0.9), item(3, "12 s", 12)];
  assert.deepEqual(texts(sortedBy(items, 0, 1, true)), ["0.9 s", "1,000 ms", "12 s", "-"]);
  assert.deepEqual(texts(sortedBy(items, 0, -1, true)), ["12 s", "1,000 ms", "0.9 s", "-"]);
});

test("text sorts as people count, and equal rows keep the order of the experiment", () => {
  const items = [item(0, "E10"), item(1, "E9"), item(2, ""), item(3, "E9")];
  const sorted = sortedBy(items, 0, 1, false);
  assert.deepEqual(texts(sorted), ["E9", "E9", "E10", ""]);
  assert.deepEqual(
    sorted.map(({ place }) => place),
    [1, 3, 0, 2],
  );
});

test("short quantities and names stay on one line", () => {
  assert.ok(keptWhole({ text: "8.74 [8.69, 8.79] n=3", value: 8.74 }));
  assert.ok(!keptWhole({ text: "stalled in compile", value: null }));
  assert.ok(!keptWhole({ text: "x".repeat(37), value: null }));
});

const TABLE = `
  <div data-table="runs"><input class="filter"><select class="facet" data-axis="0"><option value="">all</option><option value="1">off</option></select>
  <span class="count"></span>
  <table><thead><tr><th>Variant</th><th>TPS</th><th class="files">Files</th></tr></thead>
  <tbody><tr><th>E01</th><td data-value="2">2 tok/s</td><td class="files"></td></tr></tbody></table>
  <p class="more"></p></div>`;

function runTable() {
  const document = open(TABLE);
  const table = new SortableTable(document.querySelector("[data-table]"), ({ run }) => run % 2);
  const packed = Array.from({ length: 99 }, (_, i) => [`E${i + 2}`, [`${i} tok/s`, i], [["server.log", `./${i}.log`]]]);
  const keys = Array.from({ length: 100 }, (_, i) => [i, i]);
  table.complete(packed, keys);
  return table;
}

const column = (table) => [...table.body.rows].map((row) => row.cells[0].textContent);

test("packed rows follow those of the page and appear on demand", () => {
  const table = runTable();
  assert.equal(table.body.rows.length, 40);
  assert.match(table.more.textContent, /^40 of 100 rows are shown/);
  table.more.querySelector("button").click();
  assert.equal(table.body.rows.length, 100);
  assert.ok(table.more.hidden);
  assert.equal(table.body.rows[99].querySelector("a").getAttribute("href"), "./98.log");
});

test("every word of the filter must be in the row; a facet asks for the level of the run", () => {
  const table = runTable();
  let changes = 0;
  table.onchange = () => (changes += 1);
  table.filter.value = "e1 tok";
  table.update(true);
  assert.equal(column(table)[0], "E10");
  assert.ok(column(table).every((name) => name.startsWith("E1")));
  table.facets[0].value = "1";
  table.update(true);
  assert.deepEqual(column(table).slice(0, 2), ["E10", "E12"]);
  assert.equal(table.counter.textContent, `${table.visible.length} of 100 rows`);
  assert.equal(changes, 2);
});

test("a heading sorts up, then down, then not at all, and says so", () => {
  const table = runTable();
  const [, tps] = table.heads;
  const states = [1, 2, 3].map(() => {
    tps.querySelector("button").click();
    return [tps.getAttribute("aria-sort"), column(table)[0]];
  });
  assert.deepEqual(states, [
    ["ascending", "E2"],
    ["descending", "E100"],
    ["none", "E01"],
  ]);
});

test("text of a log is text", () => {
  const table = runTable();
  table.complete([["<img src=x>", "1", []]], null);
  table.show(101);
  assert.equal(table.body.querySelector("img"), null);
});

test("a packed figure carries what hovering over it shows, as the figures of the page do", () => {
  const table = runTable();
  table.complete([["E101", ["8.7 tok/s", 8.7, { n: 3, low: 8.6, caveats: "few_samples" }], []]], null);
  table.show(101);
  assert.deepEqual(
    { ...table.body.rows[100].cells[1].dataset },
    { value: "8.7", n: "3", low: "8.6", caveats: "few_samples" },
  );
});
