// The buttons of the page: copy a command, change between dark and light, print.

/**
 * @param {Document} document
 */
export function startControls(document) {
  const dark = darkRule(document);
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    if (!button) return;
    if (button.dataset.copy || button.dataset.copyText) copy(document, button);
    if (button.dataset.themeButton !== undefined) changeTheme(document, dark);
    if (button.dataset.printButton !== undefined) document.defaultView?.print();
  });
}

/**
 * Copy what the button names; where the browser does not allow it, select the text so that the keyboard can.
 * @param {Document} document
 * @param {HTMLButtonElement} button
 */
async function copy(document, button) {
  const source = button.dataset.copy ? document.getElementById(button.dataset.copy) : null;
  const text = source?.textContent ?? button.dataset.copyText ?? "";
  try {
    await navigator.clipboard.writeText(text);
    say(button, "Copied.");
  } catch {
    if (source) document.defaultView?.getSelection()?.selectAllChildren(source);
    say(button, source ? "Selected: press Ctrl+C." : `Copy it from here: ${text}`);
  }
}

/**
 * Say something next to a button, where a screen reader hears it too.
 * @param {HTMLButtonElement} button
 * @param {string} text
 */
function say(button, text) {
  let place = button.parentElement?.querySelector(".copied");
  if (!place) {
    place = button.ownerDocument.createElement("span");
    place.className = "copied";
    place.setAttribute("role", "status");
    button.after(place);
  }
  place.textContent = text;
}

/**
 * Return the media rule of the stylesheet that has the dark colours.
 * @param {Document} document
 */
function darkRule(document) {
  for (const sheet of document.styleSheets) {
    for (const rule of sheet.cssRules) {
      if (rule instanceof CSSMediaRule && rule.conditionText.includes("prefers-color-scheme: dark")) return rule;
    }
  }
  return null;
}

/**
 * Change between dark and light, whatever the system prefers.
 * @param {Document} document
 * @param {CSSMediaRule | null} dark null: styles of the user's own have no dark colours
 */
function changeTheme(document, dark) {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : document.defaultView?.matchMedia("(prefers-color-scheme: dark)").matches;
  if (dark) dark.media.mediaText = isDark ? "not all" : "all";
  root.dataset.theme = isDark ? "light" : "dark"; // last: the plots are drawn again when it changes
}
