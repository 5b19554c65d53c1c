// Confidence intervals as error bars.

/**
 * Return plotly's error bars of values with intervals; an unknown bound has no bar.
 * @param {import("#web/report/types.d.ts").Interval[]} intervals
 * @param {Record<string, unknown>} style
 */
export const errorBars = (intervals, style) => ({
  type: "data",
  symmetric: false,
  array: intervals.map(([value, , high]) => (high === null ? 0 : high - value)),
  arrayminus: intervals.map(([value, low]) => (low === null ? 0 : value - low)),
  ...style,
});
