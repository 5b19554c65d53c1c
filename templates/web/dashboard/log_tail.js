// The ends of logs: what the server sends is added at the end, and the oldest text is removed.

const MOST_CHARACTERS = 256 * 1024;
const NEAR_THE_END_PX = 40;

/**
 * @typedef {object} LogPiece
 * @property {string} log
 * @property {string} text
 * @property {boolean} fresh it replaces what was shown
 */

/**
 * Show a piece of a log. A log that is scrolled to its end stays at its end.
 * @param {LogPiece} piece
 */
export function showPiece(piece) {
  const section = document.querySelector(`[data-log="${CSS.escape(piece.log)}"]`);
  const code = section?.querySelector("code");
  const box = section?.querySelector("pre");
  if (!(section instanceof HTMLElement) || !(code instanceof HTMLElement) || !(box instanceof HTMLElement)) return;
  const wasHidden = section.hidden;
  const atEnd = wasHidden || box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_THE_END_PX;
  section.hidden = false;
  if (piece.fresh) code.textContent = piece.text;
  else code.append(piece.text);
  const text = code.textContent ?? "";
  if (text.length > MOST_CHARACTERS)
    code.textContent = text.slice(text.indexOf("\n", text.length - MOST_CHARACTERS) + 1);
  if (atEnd) box.scrollTop = box.scrollHeight;
}

/** Scroll every log to its end, as the page is opened. */
export function scrollToEnds() {
  for (const box of document.querySelectorAll("[data-log] pre")) box.scrollTop = box.scrollHeight;
}
