// The colours of plots, read from the CSS variables of the page, and what the layouts of all plots share.

/** @typedef {import("#web/report/types.d.ts").Look} Look */

const SERIES = 10;
const PHASES = 8;
const NARROW_BELOW_PX = 640;

/**
 * Whether a plot of this width is laid out as on a phone.
 * @param {number} width_px
 */
export const isNarrow = (width_px) => width_px < NARROW_BELOW_PX;

/**
 * Return the colours that the page has now.
 * @returns {Look}
 */
export function pageLook() {
  const style = getComputedStyle(document.documentElement);
  /** @param {string} name */
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  /** @param {string} name @param {number} length */
  const all = (name, length) => Array.from({ length }, (_, place) => of(`${name}-${place}`));
  return {
    ink: of("ink"),
    quiet: of("quiet"),
    rule: of("rule"),
    paper: of("paper"),
    better: of("better"),
    worse: of("worse"),
    series: all("series", SERIES),
    phases: all("phase", PHASES),
  };
}

/**
 * Return a layout with what all plots share.
 * @param {Record<string, any>} layout
 * @param {Look} look
 * @param {{ width_px: number, fixed: boolean, simulated: boolean }} how fixed: as wide as given, not as its place
 */
export function finished(layout, look, { width_px, fixed, simulated }) {
  const narrow = isNarrow(width_px);
  const axis = {
    gridcolor: look.rule,
    zerolinecolor: look.quiet,
    linecolor: look.quiet,
    zeroline: false,
    automargin: true,
    ticklen: 5,
    tickcolor: look.rule,
    ticks: "outside",
    fixedrange: narrow,
  };
  /** @type {Record<string, any>} */
  const made = {
    autosize: !fixed,
    margin: { l: 50, r: narrow ? 15 : 45, t: 20, b: 50 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: look.ink, size: narrow ? 11 : 13, family: getComputedStyle(document.body).fontFamily },
    hoverlabel: {
      bgcolor: look.paper,
      bordercolor: look.quiet,
      font: { color: look.ink },
      namelength: -1,
      align: "left",
    },
    hovermode: "closest",
    modebar: { orientation: "v", bgcolor: "rgba(0,0,0,0)", color: look.quiet, activecolor: look.ink },
    legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom" },
    ...layout,
  };
  if (fixed) made.width = width_px;
  for (const key of ["xaxis", "yaxis", "yaxis2"]) if (layout[key]) made[key] = { ...axis, ...layout[key] };
  if (simulated) {
    const watermark = {
      text: "SIMULATED",
      xref: "paper",
      yref: "paper",
      x: 0.5,
      y: 0.5,
      showarrow: false,
      opacity: 0.16,
      font: { size: narrow ? 34 : 64, color: look.quiet },
    };
    made.annotations = [...(layout.annotations ?? []), watermark];
  }
  return made;
}
