// Keep a page of the dashboard current with the events of its stream. Every page is complete without this script.

import { LiveTable, setText } from "./live_table.js";
import { scrollToEnds, showPiece } from "./log_tail.js";

/** @typedef {{text: string, label: string, href: string, hint: string}} Item */

/**
 * @typedef {object} View
 * @property {Record<string, string>} fields
 * @property {Record<string, Item[]>} lists
 * @property {import("./live_table.js").Row[]} rows
 * @property {string[] | null} order
 * @property {number} span_s
 */

const LOST = "Connection lost. Trying again…";
const REFETCH_MS = 1000;

const body = /** @type {HTMLElement | null} */ (document.querySelector("[data-rows]"));
const table = body === null ? null : new LiveTable(body);
const live = document.querySelector("[data-live-state]");
/** @type {EventSource | null} */
let source = null;
/** Id of the last event: the bytes to which the logs were read. */
let lastId = "";
/** Texts of the run that decide whether its other facts have changed. */
let lastState = "";
let refetching = 0;

/**
 * Return an element with text and children.
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {...(string | Node)} children
 */
function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** @param {Item} item */
function listItem(item) {
  const made = make("li", {});
  if (item.label !== "") made.append(item.href === "" ? item.label : make("a", { href: item.href }, item.label), ": ");
  made.append(item.text);
  if (item.hint !== "") made.append(" ", make("span", { class: "hint" }, item.hint));
  return made;
}

/** @param {View} view */
function show(view) {
  live?.classList.remove("lost");
  for (const [name, text] of Object.entries(view.fields)) {
    for (const node of document.querySelectorAll(`[data-field="${CSS.escape(name)}"]`)) setText(node, text);
  }
  for (const [name, items] of Object.entries(view.lists)) {
    const section = document.querySelector(`[data-list="${CSS.escape(name)}"]`);
    const list = section?.querySelector("ul");
    if (!(section instanceof HTMLElement) || !list) continue;
    const made = make("ul", {}, ...items.map(listItem));
    if (made.textContent?.replace(/\s+/g, "") !== list.textContent?.replace(/\s+/g, "")) list.replaceWith(made);
    section.hidden = items.length === 0;
  }
  table?.update(view.rows, view.order, view.span_s);
  const state = ["run-state", "run-phase", "run-samples"].map((name) => (view.fields[name] ?? "").replace(/ .*/, ""));
  if (lastState !== "" && lastState !== state.join()) refetch();
  lastState = state.join();
}

/** Take the facts that are not in the stream from the page of the server, as a reload would. */
function refetch() {
  if (refetching !== 0 || document.querySelector("[data-fresh]") === null) return;
  refetching = window.setTimeout(async () => {
    refetching = 0;
    try {
      const response = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const fresh of /** @type {NodeListOf<HTMLElement>} */ (page.querySelectorAll("[data-fresh]"))) {
        const name = CSS.escape(fresh.dataset.fresh ?? "");
        document.querySelector(`[data-fresh="${name}"]`)?.replaceWith(document.adoptNode(fresh));
      }
    } catch {
      // The stream reports a lost connection; its next event asks again.
    }
  }, REFETCH_MS);
}

/** @param {string} text */
function showTrouble(text) {
  live?.classList.add("lost");
  const field = live?.querySelector("[data-field]");
  if (field) setText(field, text);
}

function connect() {
  const stream = document.body.dataset.events;
  if (stream === undefined || source !== null) return;
  const address = new URL(stream, location.href);
  if (lastId !== "") address.searchParams.set("from", lastId);
  source = new EventSource(address);
  source.addEventListener("open", () => live?.classList.remove("lost"));
  source.addEventListener("view", (event) => show(JSON.parse(event.data)));
  source.addEventListener("log", (event) => {
    lastId = event.lastEventId;
    showPiece(JSON.parse(event.data));
  });
  source.addEventListener("trouble", (event) => showTrouble(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    showTrouble(LOST);
    if (source?.readyState === EventSource.CLOSED) {
      source = null;
      window.setTimeout(connect, 5000);
    }
  });
}

function disconnect() {
  source?.close();
  source = null;
}

// A hidden page needs no stream: nobody looks, and a browser opens six connections to a server at most.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect();
  else connect();
});
window.addEventListener("pagehide", disconnect);
scrollToEnds();
connect();
document.documentElement.dataset.ready = "yes";
