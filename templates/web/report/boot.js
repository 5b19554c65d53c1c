// The only script of a report page that is not a module: it unpacks the modules, gives them their names, and starts them.

(async () => {
  /**
   * Return the text of a packed script element: base64 of gzip.
   * @param {string} id
   * @returns {Promise<string>}
   */
  async function unpack(id) {
    const letters = atob((document.getElementById(id)?.textContent ?? "").trim());
    const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  /**
   * Say in the page what went wrong: rows and plots are missing, and a console is not what readers look at.
   * @param {unknown} error
   */
  function complain(error) {
    const cause = error instanceof Error ? error.message : String(error);
    const line = document.createElement("p");
    line.className = "strong trouble";
    line.setAttribute("role", "alert");
    line.textContent = `This browser cannot unpack the rest of this report (${cause}). Tables show their first rows only.`;
    document.body.classList.remove("scripted", "one-chapter");
    document.getElementById("main")?.prepend(line);
  }

  try {
    /** @type {Record<string, string>} */
    const sources = JSON.parse(await unpack("packed-modules"));
    const imports = Object.fromEntries(
      Object.entries(sources).map(([name, source]) => [name, `data:text/javascript,${encodeURIComponent(source)}`]),
    );
    const map = document.createElement("script");
    map.type = "importmap";
    map.textContent = JSON.stringify({ imports });
    document.head.append(map);
    const { start } = await import("#web/report/start.js");
    await start(unpack);
  } catch (error) {
    complain(error);
  }
})();
