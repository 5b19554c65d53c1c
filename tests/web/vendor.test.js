import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { WEB } from "./page.js";

test("the plotting library is the published file of the version in package.json", async () => {
  const [ours, published] = await Promise.all(
    ["vendor", "node_modules/plotly.js-basic-dist-min"].map((folder) =>
      readFile(`${WEB}${folder}/plotly-basic.min.js`),
    ),
  );
  assert.ok(ours.equals(published));
});
