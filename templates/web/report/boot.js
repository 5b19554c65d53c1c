// The only script of a report page that is not a module: it unpacks the modules, gives them their names, and starts them.

(async () => {
  // Base 85 of RFC 1924, without the digits that HTML gives a meaning: report/formats/html/pack.py writes it.
  const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%.()*+-;,=/?@^_`{|}~";
  const GROUP = 5; // digits, for 4 bytes

  /**
   * Return the bytes of a text in base 85.
   * @param {string} text
   */
  function bytesOf(text) {
    const values = new Uint8Array(128);
    [...DIGITS].forEach((digit, value) => (values[digit.charCodeAt(0)] = value));
    const groups = Math.ceil(text.length / GROUP);
    const missing = groups * GROUP - text.length;
    const padded = text + DIGITS[84].repeat(missing);
    const bytes = new DataView(new ArrayBuffer(4 * groups));
    for (let group = 0; group < groups; group++) {
      let number = 0;
      for (let i = GROUP * group; i < GROUP * (group + 1); i++) number = number * 85 + values[padded.charCodeAt(i)];
      bytes.setUint32(4 * group, number);
    }
    return bytes.buffer.slice(0, 4 * groups - missing);
  }

  /**
   * Return the text of a packed script element: gzip in base 85.
   * @param {string} id
   * @returns {Promise<string>}
   */
  async function unpack(id) {
    const bytes = bytesOf((document.getElementById(id)?.textContent ?? "").trim());
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
