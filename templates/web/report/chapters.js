// The chapters: one is shown at a time, that of the address's hash; `#all` shows all of them.

const ALL = "#all";

/**
 * Show the chapter that the hash leads into, and mark its link.
 * @param {Document} document
 * @param {string} first the hash of the chapter that is shown at first
 * @returns {(hash: string) => void} shows another chapter
 */
export function startChapters(document, first) {
  const chapters = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(".chapter")]);
  const links = /** @type {HTMLAnchorElement[]} */ ([...document.querySelectorAll("nav.chapters a")]);

  /** @param {string} hash */
  const chapterOf = (hash) => document.getElementById(decodeURIComponent(hash.slice(1)))?.closest(".chapter") ?? null;

  /** @param {string} hash */
  const show = (hash) => {
    const chosen = chapterOf(hash);
    if (!chosen && hash !== ALL) return; // the hash leads elsewhere on the page, which is always shown
    document.body.classList.toggle("one-chapter", hash !== ALL);
    for (const chapter of chapters) chapter.classList.toggle("shown", chapter === chosen);
    for (const link of links) {
      const current = link.hash === ALL ? hash === ALL : chosen !== null && chapterOf(link.hash) === chosen;
      if (current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };

  const view = document.defaultView;
  view?.addEventListener("hashchange", () => {
    show(view.location.hash);
    document.getElementById(decodeURIComponent(view.location.hash.slice(1)))?.scrollIntoView();
  });
  show(first);
  if (view?.location.hash) show(view.location.hash);
  return show;
}
