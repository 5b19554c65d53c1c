// The packed data of a report: written by report/formats/html/plots.py and tables.py.

/** What hovering over a figure shows beside its value, as far as its column does not have it. */
export interface FigureFacts {
  n?: number;
  low?: number;
  high?: number;
  metric?: string;
  unit?: string;
  /** Codes, separated by blanks. */
  caveats?: string;
}
/** A cell as it is packed: text; or text and the number that it is sorted by, with its facts if it has any. */
export type PackedCell = string | [string, number, FigureFacts?];
/** A row as it is packed; with links, its last item is a list of (name, href). */
export type PackedRow = (PackedCell | [string, string][])[];

/** Index into `phases`, start, length in seconds (null: not known), completed or not. */
export type PhaseData = [number, number, number | null, boolean];

/** A value with its 95 % confidence interval. */
export type Interval = [number, number | null, number | null];

export interface Run {
  exp: string;
  label: string;
  sim: boolean;
  outcome: string;
  /** The outcome in one or two words. */
  ended: string;
  /** Position of the run's level in each axis; -1: none. */
  axes: number[];
  ready_s: number | null;
  phases: PhaseData[];
}

export interface Curve {
  /** Requests in the distribution, of which `x` may be a part. */
  n: number;
  x: number[];
  share: number[];
}

/** Columns of samples: seconds or rates by metric; a letter per sample in `marks`: w warm, c cold, f failed, u warm-up. */
export type Samples = { sent_s: (number | null)[]; marks: string } & {
  [metric in "ttft_s" | "tpot_s" | "e2e_s" | "tps"]: (number | null)[];
};

export interface Telemetry {
  n: number;
  t_s: number[];
  kv_cache_usage?: (number | null)[];
  waiting?: (number | null)[];
  running?: (number | null)[];
}

/** A workload of a run. */
export interface Cell {
  run: number;
  /** Index into `workloads`; -1: unknown. */
  workload: number;
  n: number;
  samples?: Samples;
  /** Whether the curves leave out cold requests. */
  warm?: boolean;
  curves?: Record<string, Curve | null>;
  telemetry?: Telemetry;
}

export interface EffectData {
  how: "alone" | "pairs";
  name: string;
  workload: string;
  metric: string;
  condition: string;
  percent: Interval;
  verdict: string;
  text: string;
}

export interface FrontPoint {
  exp: string;
  short: string;
  name: string;
  workload: string;
  user: Interval;
  gpu: Interval;
  /** The variant that beats this one in both means; empty: none. */
  better: string;
  text: string;
}

export interface ReportData {
  phases: string[];
  workloads: string[];
  measures: Record<string, { title: string; unit: string; meaning: string }>;
  runs: Run[];
  cells: Cell[];
  effects: EffectData[];
  pareto: FrontPoint[];
  /** The words for a caveat's code. */
  caveats: Record<string, string>;
  simulated: boolean;
  /** The rows of each table that are not in the page itself. */
  tables: Record<string, PackedRow[]>;
  /** The index of the run and of the cell of each row of the table of runs; -1: none. */
  keys: [number, number][];
}

/** The colours of the page, read from its CSS variables. */
export interface Look {
  ink: string;
  quiet: string;
  rule: string;
  paper: string;
  better: string;
  worse: string;
  series: string[];
  phases: string[];
}

/** What a figure may depend on beside the data. `narrow`: as on a phone. */
export interface View {
  narrow: boolean;
  look: Look;
}

/** A row of the table of runs: which run and cell it shows. */
export interface Chosen {
  run: number;
  cell: number;
}

export interface Control {
  name: string;
  title: string;
  options: (string | number | [string, string])[];
}

/** Something that plotly draws. Its own types are not installed: the library is a file inside the page. */
export type Trace = Record<string, any>;

export interface Drawing {
  traces: Trace[];
  layout: Record<string, any>;
  /** What is drawn and what is left out. */
  shown: string;
  empty: boolean;
  columns: string[];
  rows: (string | number)[][];
}

export interface Figure {
  controls(data: ReportData): Control[];
  draw(data: ReportData, choice: Record<string, string>, chosen: Chosen[], view: View): Drawing;
}

declare global {
  interface Window {
    Plotly?: any;
    /** The parts of a report, for the console of a browser and for tests. */
    hpcsweepReport: any;
  }
}
