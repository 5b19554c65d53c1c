// A document for modules that expect a browser.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

export const WEB = fileURLToPath(new URL("../../templates/web/", import.meta.url));

/** jsdom lies beside the modules, where npm has installed it. */
export const { JSDOM } = createRequire(`${WEB}package.json`)("jsdom");

/** Make `html` the document of this process. */
export function open(html) {
  const { window } = new JSDOM(html);
  window.HTMLElement.prototype.scrollIntoView = () => {}; // jsdom has no layout to scroll
  Object.assign(globalThis, { window, document: window.document, HTMLElement: window.HTMLElement });
  return window.document;
}
