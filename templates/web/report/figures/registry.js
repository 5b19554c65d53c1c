// The figure of each plot by the name that the page has in data-plot. A new plot is a module here and an entry.

import { curves } from "#web/report/figures/curves.js";
import { effects } from "#web/report/figures/effects.js";
import { front } from "#web/report/figures/front.js";
import { samples } from "#web/report/figures/samples.js";
import { telemetry } from "#web/report/figures/telemetry.js";
import { timelines } from "#web/report/figures/timelines.js";

/** @type {Record<string, import("#web/report/types.d.ts").Figure>} */
export const figures = { timelines, effects, pareto: front, samples, curves, telemetry };
