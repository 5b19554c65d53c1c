// Text inside plots.

import { count } from "#web/report/dom.js";

/**
 * Return text that plotly shows letter by letter: it reads a few HTML tags otherwise.
 * @param {unknown} text
 */
export const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/**
 * @param {string} text
 * @param {number} length
 */
export const short = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/**
 * Break text at spaces into up to three lines of about `width` letters.
 * @param {string} text
 * @param {number} width
 */
export function lines(text, width) {
  const found = [""];
  for (const word of text.split(" ")) {
    const last = found[found.length - 1];
    const joined = last === "" ? word : `${last} ${word}`;
    if (joined.length > width && last !== "" && found.length < 3) found.push(word);
    else found[found.length - 1] = joined;
  }
  return found.map((line) => plain(short(line, 2 * width))).join("<br>");
}

/**
 * @template T
 * @param {T[]} values
 */
export const distinct = (values) => [...new Set(values)];

/**
 * Return how much of something is drawn.
 * @param {number} drawn
 * @param {number} all
 * @param {string} what
 */
export const drawnOf = (drawn, all, what) =>
  drawn === all ? `All ${count(all)} ${what} are drawn.` : `${count(drawn)} of ${count(all)} ${what} are drawn.`;
