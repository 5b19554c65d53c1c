// What every part of the page needs: elements, counts, packed data.

const numbers = new Intl.NumberFormat("en-US");

/**
 * Return a count as people read it: 1,234.
 * @param {number} n
 */
export const count = (n) => numbers.format(n);

/**
 * Make an element with properties and children. Text children are never parsed as HTML.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]> | Record<string, unknown>} properties
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * Return the one element that a selector names. Throws if the page has none: its template and scripts disagree.
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function need(root, selector) {
  const found = root.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`this page has no ${selector}`);
  return found;
}

/**
 * Return the text of a packed script element: base64 of gzip.
 * @param {string} id
 * @returns {Promise<string>}
 */
export async function unpack(id) {
  const letters = atob((document.getElementById(id)?.textContent ?? "").trim());
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/**
 * Return a function that calls `work` once it has not been called for `delay_ms`.
 * @param {() => void} work
 * @param {number} delay_ms
 */
export function debounced(work, delay_ms) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(work, delay_ms);
  };
}
