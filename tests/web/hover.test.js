import assert from "node:assert/strict";
import { test } from "node:test";

import { open } from "./page.js";

const { linesOf, neighbour, startHover } = await import("../../templates/web/report/hover.js");

const MEANINGS = {
  measures: { tps: { title: "TPS", unit: "tok/s", meaning: "completion tokens / e2e" } },
  caveats: { few_samples: "fewer than 3 warm samples" },
};

test("a figure has its definition, value, interval, n and caveats; what it lacks comes from its column", () => {
  const own = { value: "8.741234", low: "8.69", high: "8.79", n: "3" };
  assert.deepEqual(linesOf(own, { metric: "tps", unit: "tok/s", caveats: "few_samples unknown_code" }, MEANINGS), [
    "TPS: completion tokens / e2e",
    "8.741 tok/s",
    "95 % CI 8.69 to 8.79",
    "n = 3",
    "Caveats: fewer than 3 warm samples, unknown code",
  ]);
  assert.deepEqual(linesOf({ value: "12", unit: "s" }, { unit: "tok/s" }, MEANINGS), ["12 s"]);
});

const PAGE = `<div class="table"><div class="scroll" tabindex="0"><table>
  <thead><tr><th>Variant</th><th data-metric="tps" data-unit="tok/s">TPS</th></tr></thead>
  <tbody><tr><th>E01</th><td data-value="8.7" data-n="3">8.7</td></tr><tr><th>E02</th><td>-</td></tr></tbody></table></div></div>`;

function page() {
  const document = open(PAGE);
  const { MutationObserver, Element, Node, HTMLTableCellElement } = document.defaultView;
  Object.assign(globalThis, { MutationObserver, Element, Node, HTMLTableCellElement });
  startHover(document, MEANINGS);
  const press = (key) => {
    const { KeyboardEvent } = document.defaultView;
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    return document.activeElement.textContent;
  };
  return { document, press, tip: document.querySelector("#tip") };
}

test("a table is one tab stop; the arrow keys move through its cells and show what a figure means", () => {
  const { document, press, tip } = page();
  assert.equal(document.querySelectorAll("[tabindex]").length, 1);
  document.querySelector("[tabindex]").focus();
  assert.ok(tip.hidden);
  assert.equal(press("ArrowRight"), "8.7");
  assert.match(tip.textContent, /TPS: completion tokens.*8\.7 tok\/s.*n = 3/);
  assert.equal(document.activeElement.getAttribute("aria-describedby"), tip.id);
  press("Escape");
  assert.ok(tip.hidden);
  assert.equal(press("ArrowDown"), "-");
  assert.ok(tip.hidden);
  assert.equal(press("Home"), "E02");
  assert.equal(press("ArrowUp"), "E01");
  assert.equal(press("ArrowUp"), "E01"); // there is no row above
  assert.equal(document.querySelectorAll("[tabindex]").length, 1);
});

test("other keys do what they do elsewhere", () => {
  const { document } = page();
  const cell = document.querySelector("td");
  assert.equal(neighbour(cell.closest("tbody"), cell, "PageDown"), undefined);
});
