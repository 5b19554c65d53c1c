"""The HTML page as text: hostile values, marks, packed parts, links. In a browser: test_report_browser."""

import base64
import gzip
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from urllib.parse import unquote

import numpy as np
import pytest
from study_rows import a100_study, attempt, h200_study, run, samples, sweep, workload

from hpcsweep.analysis.columns import SampleRow
from hpcsweep.analysis.measured.curves import cumulative, peaks, thin
from hpcsweep.analysis.summary import analyse
from hpcsweep.report.document import Quantity
from hpcsweep.report.formats.html import page as html
from hpcsweep.report.formats.html.pack import pack
from hpcsweep.report.formats.html.plots import FEWEST, MAX_SAMPLES
from hpcsweep.report.formats.html.tables import ROWS_IN_PAGE, WHOLE_UP_TO, HtmlTable
from hpcsweep.report.formats.registry import format_of_file, get_format
from hpcsweep.spec.phases import OutcomeKind, Phase

VOID = {"meta", "link", "input", "br", "hr", "img", "col"}
HOSTILE = "</script><script>alert(1)</script>'\"&<img src=x onerror=alert(2)> {{ 7*7 }} javascript:x"


def unpack(packed):
    """The text of a packed part, as boot.js reads it."""
    return gzip.decompress(base64.b85decode(packed.translate(str.maketrans(",/.", "<>&")))).decode()


class Page(HTMLParser):
    """Every tag is closed in its order; tables, headings, packed scripts and text are kept."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.headings, self.links = [], [], [], [], []
        self.packed, self.text, self.scripts = {}, [], 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append((tag, found.get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, name = self.open[-1] if self.open else ("", None)
        if tag == "script" and name:
            self.packed[name] = data
        elif tag not in ("script", "style"):
            self.text.append(data)

    def data(self):
        return json.loads(unpack(self.packed["packed-data"]))


def page_of(rows):
    stream = io.StringIO()
    get_format("html").write(analyse(rows), stream)
    return stream.getvalue()


@pytest.fixture(scope="module")
def study():
    text = page_of(h200_study())
    return text, Page(text)


def simulated(rows):
    runs = tuple(
        replace(one, simulated=True, attempts=tuple(replace(a, simulated=True) for a in one.attempts))
        for one in rows.runs
    )
    return replace(rows, simulated=True, runs=runs)


def many(count, samples_each=4):
    runs = [run({"a": str(n)}, [attempt([workload("w", samples([(10, 1.0)] * samples_each))])]) for n in range(count)]
    return sweep(runs, {"a": tuple(map(str, range(count)))}, {"a": "0"})


def test_the_format_is_known_by_name_and_ending():
    assert get_format("html").telemetry
    assert format_of_file("Report.HTML") is get_format("html")


def test_nothing_can_be_fetched(study):
    text, page = study
    (policy,) = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy and "*" not in policy
    own = text.replace(page.packed["packed-plotly"], "")
    assert re.findall(r"\b(?:https?|ftp|wss?):|//[a-z]+\.", own) == []
    assert [a for t, a in page.tags if "src" in a or (t == "link" and a["href"] != "data:,")] == []


def test_the_library_is_whole_and_the_only_large_part(study):
    text, page = study
    source = unpack(page.packed["packed-plotly"])
    assert "plotly.js" in source[:200]
    assert "MIT license" in source[:400]
    assert len(text) - len(page.packed["packed-plotly"]) < 250_000


def test_tables_have_captions_headers_and_a_name(study):
    _, page = study
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") > 5
    assert all("scope" in a for t, a in page.tags if t == "th")
    regions = [a for t, a in page.tags if a.get("role") == "region"]
    assert all(a.get("aria-labelledby") in page.ids or a.get("aria-label") for a in regions)
    assert len(page.ids) == len(set(page.ids))


def test_every_reference_inside_the_page_leads_somewhere(study):
    _, page = study
    for _, attributes in page.tags:
        for name in ("aria-labelledby", "aria-describedby", "aria-controls"):
            assert set(attributes.get(name, "").split()) <= set(page.ids)
    assert {href[1:] for href in page.links if href.startswith("#")} <= {*page.ids, "all"}


def test_chapters_come_in_the_order_of_a_decision(study):
    text, _ = study
    titles = re.findall(r'<h2 id="(?:chapter-\w+|explore|plots)">([^<]*)', text)
    assert titles[:4] == ["Overview", "Runs", "Plots", "Speed"]
    assert titles[4:] == ["Startup", "Effects", "Failures", "Cost", "Requests", "Method"]


def test_a_failed_start_ends_in_its_phase(study):
    data = study[1].data()
    stalled = next(one for one in data["runs"] if one["label"].startswith("ep-on_eager-no"))
    assert (stalled["outcome"], stalled["ready_s"]) == ("startup timeout in compile", None)
    (phase,) = stalled["phases"]
    assert data["phases"][phase[0]] == "compile"
    assert phase[1:] == [170.0, 830.0, False]


def test_cold_samples_are_marked_and_left_out_of_curves(study):
    data = study[1].data()
    first = next(c for c in data["cells"] if data["runs"][c["run"]]["label"] == "ep-on_eager-yes_len-8k" and c["n"])
    assert (first["samples"]["marks"], first["warm"]) == ("cww", True)
    assert first["curves"]["e2e_s"] == {"n": 2, "x": [58.88, 59.07], "share": [0.5, 1.0]}
    assert first["curves"]["ttft_s"] is None


def test_a_simulated_sweep_has_a_banner_and_no_mark_in_its_rows():
    text = page_of(simulated(h200_study()))
    page = Page(text)
    data = page.data()
    assert data["simulated"]
    assert not re.findall(r"<t[hd][^>]*>[^<]*SIMULATED", text)
    assert re.search(r"<title>[^<]*SIMULATED", text)
    assert "".join(page.text).count("SIMULATED") == 2  # the title and the banner, which is always in sight at first
    assert re.search(r'<p class="banner">SIMULATED: every figure', text)


def test_a_measured_sweep_is_not_marked(study):
    assert "SIMULATED" not in "".join(study[1].text)
    assert not study[1].data()["simulated"]


def test_hostile_text_stays_text():
    found = (SampleRow(HOSTILE, 0, 0.0, 10, 8, 0.5, 1.0, error=HOSTILE), *samples([(10, 1.0)] * 5, prefix=HOSTILE))
    bad = {"outcome": OutcomeKind.CRASHED, "phase": Phase.COMPILE, "reason": HOSTILE, "evidence": (HOSTILE,)}
    runs = [
        run({HOSTILE: HOSTILE}, [attempt([workload(HOSTILE, found)], host=HOSTILE, argv=("vllm", HOSTILE))]),
        run({HOSTILE: "b"}, [attempt(**bad)]),
    ]
    rows = sweep(runs, {HOSTILE: (HOSTILE, "b")}, {HOSTILE: HOSTILE}, title=HOSTILE, notes=(HOSTILE,))
    page = Page(page_of(replace(rows, scripts={HOSTILE: HOSTILE}, experiment=HOSTILE, cluster=HOSTILE)))
    assert page.scripts == 4
    assert "img" not in {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert HOSTILE in page.text
    assert "49 javascript" not in "".join(page.text)
    assert page.data()["workloads"] == [HOSTILE]


def test_rows_beyond_the_first_travel_packed():
    rows = many(250)
    text = page_of(rows)
    page = Page(text)
    data = page.data()
    in_page = re.search(r'<table id="runs">.*?</table>', text, re.DOTALL)[0].count("<tr>") - 1
    assert in_page == ROWS_IN_PAGE
    assert len(data["tables"]["runs"]) == 250 - ROWS_IN_PAGE
    assert [row[1] for row in data["tables"]["runs"]] == [f"a-{n}" for n in range(ROWS_IN_PAGE, 250)]
    assert data["keys"] == [[n, n] for n in range(250)]
    assert f"{ROWS_IN_PAGE} of 250 rows" in text
    assert max(len(title) for title in re.findall(r"<(?:h3|caption)[^>]*>([^<]*)", text)) < 200
    assert all(len(row) == len(data["tables"]["runs"][0]) for row in data["tables"]["runs"])


def test_large_samples_are_thinned_and_say_how_many_there_were():
    runs = [run({"a": "1"}, [attempt([workload("w", samples([(10, 1.0 + n % 7) for n in range(5000)]))])])]
    data = Page(page_of(sweep(runs, {"a": ("1",)}, {"a": "1"}))).data()
    (cell,) = data["cells"]
    assert cell["n"] == 5000
    assert FEWEST <= len(cell["samples"]["marks"]) <= MAX_SAMPLES // 10
    assert cell["samples"]["marks"][0] == "c"
    assert cell["curves"]["e2e_s"]["n"] == 4999
    assert cell["curves"]["e2e_s"]["share"][-1] == 1.0


def test_aggregates_without_samples_make_a_page():
    page = Page(page_of(a100_study()))
    assert "plot-samples" not in page.ids
    assert "plot-effects" in page.ids


def test_a_sweep_that_has_not_begun_makes_a_page():
    page = Page(page_of(sweep([run({"a": "1"}), run({"a": "2"})], {"a": ("1", "2")}, {"a": "1"})))
    assert "plots" not in page.ids
    assert "runs" in page.ids


def made(tmp_path, label):
    folder = tmp_path / "home" / "sweeps" / "s-0001"
    attempt_dir = f"runs/{label}/attempt-1"
    (folder / attempt_dir).mkdir(parents=True)
    (folder / attempt_dir / "server.log").write_text("x")
    (folder / attempt_dir / "owner.json").write_text("{}")
    rows = sweep([run({"a": "1"}, [attempt(attempt_dir=attempt_dir)])], {"a": ("1",)}, {"a": "1"})
    return analyse(replace(rows, sweep_dir=str(folder)))


LABELS = ["plain", "two words", 'it\'s <b> & "q"', "100%#?x=1", "javascript:alert(1)"]


@pytest.mark.parametrize("label", LABELS)
def test_links_lead_from_the_report_to_the_log(tmp_path, label):
    findings = made(tmp_path, label)
    target = tmp_path / "elsewhere" / "r.html"
    target.parent.mkdir()
    with target.open("w", encoding="utf-8") as stream:
        html.write(findings, stream)
    (link,) = [href for href in Page(target.read_text("utf-8")).links if not href.startswith("#")]
    assert link.startswith("../home/sweeps/s-0001/runs/")
    assert (target.parent / unquote(link)).resolve().read_text() == "x"


def test_on_standard_output_links_start_in_the_sweep_folder(tmp_path):
    stream = io.StringIO()
    html.write(made(tmp_path, "a"), stream)
    page = Page(stream.getvalue())
    assert "./runs/a/attempt-1/server.log" in page.links
    assert f"in the folder of the sweep, {tmp_path}" in "".join(page.text)


def test_the_same_findings_give_the_same_page():
    findings = analyse(h200_study())
    first, second = io.StringIO(), io.StringIO()
    html.write(findings, first)
    html.write(findings, second)
    assert first.getvalue() == second.getvalue()


def test_a_template_of_ones_own_comes_first(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "report.css").write_text("body { color: rebeccapurple }")
    stream = io.StringIO()
    html.write(analyse(h200_study()), stream, (tmp_path,))
    assert "rebeccapurple" in stream.getvalue()
    assert "max-width: 100rem" not in stream.getvalue()


def test_numbers_carry_their_value_for_sorting(study):
    _, page = study
    values = [float(a["data-value"]) for tag, a in page.tags if tag == "td" and "data-value" in a]
    assert len(values) > 50
    assert pytest.approx(max(values)) == 82.6 * 2**30
    packed = HtmlTable("t", "", ("a",), (*((str(n),) for n in range(ROWS_IN_PAGE)), (Quantity("8 s", 8.0),), ("-",)))
    assert packed.packed_rows() == [[["8 s", 8]], ["-"]]


def test_figures_carry_what_hovering_shows(study):
    text, page = study
    data = page.data()
    heads = [a for tag, a in page.tags if tag == "th" and a.get("scope") == "col"]
    assert {"tps", "e2e_s", "startup_s"} <= {a["data-metric"] for a in heads if "data-metric" in a}
    assert {a["data-metric"] for _, a in page.tags if "data-metric" in a} <= set(data["measures"])
    codes = {code for _, a in page.tags for code in a.get("data-caveats", "").split()}
    assert codes == set(data["caveats"]) == {"too_few_samples", "one_run_only"}
    shown = {
        tuple(round(float(a[f"data-{name}"]), 2) for name in ("value", "low", "high", "n"))
        for _, a in page.tags
        if "data-low" in a
    }
    assert (8.68, 8.51, 8.86, 2) in shown
    assert text.count(data["measures"]["tps"]["meaning"]) == 2  # above the two layers of the map


def test_packed_figures_carry_what_their_column_does_not():
    figures = [Quantity(f"{n} s", float(n), "s", n - 1.0, n + 1.0, 3, "e2e_s", ("a",)) for n in range(ROWS_IN_PAGE)]
    other = Quantity("9 s", 9.0, "s", None, None, 2, "ttft_s", ("a",))
    table = HtmlTable("t", "", ("a",), (*((figure,) for figure in figures), (other,)))
    assert table.shared == ({"unit": "s", "caveats": "a"},)
    assert table.packed_rows() == [[["9 s", 9, {"n": 2, "metric": "ttft_s"}]]]
    assert (
        table.attributes(figures[1], 0) == ' data-value="1" data-n="3" data-low="0" data-high="2" data-metric="e2e_s"'
    )


def test_page_and_script_break_the_same_cells():
    source = (files("hpcsweep.templates") / "web" / "report" / "tables.js").read_text("utf-8")
    assert f"WHOLE_UP_TO = {WHOLE_UP_TO};" in source
    assert f"ROWS_AT_ONCE = {ROWS_IN_PAGE};" in source


THINNED = [  # (count, at most, kept, places)
    pytest.param(0, 10, (), [], id="nothing"),
    pytest.param(3, 10, (), [0, 1, 2], id="few"),
    pytest.param(10, 10, (4,), list(range(10)), id="just enough"),
    pytest.param(101, 3, (), [0, 50, 100], id="first, middle, last"),
    pytest.param(101, 3, (7, 50, 99), [0, 7, 50, 99, 100], id="kept ones come on top"),
]


@pytest.mark.parametrize(("total", "at_most", "keep", "places"), THINNED)
def test_thin(total, at_most, keep, places):
    assert thin(total, at_most, keep).tolist() == places


def test_cumulative_is_the_share_at_most_so_large():
    curve = cumulative(np.array([3.0, np.nan, 1.0, 2.0, 2.0]), 10)
    assert (curve.n, curve.value.tolist(), curve.share.tolist()) == (4, [1.0, 2.0, 2.0, 3.0], [0.25, 0.5, 0.75, 1.0])
    thinned = cumulative(np.arange(1000.0), 5)
    assert [round(v) for v in thinned.share * 1000] == [round(v) + 1 for v in thinned.value]
    assert {0.9, 0.95, 0.99, 0.999} <= set(thinned.share.tolist())
    assert cumulative(np.array([np.nan]), 5) is None


def test_no_peak_of_a_series_is_lost():
    values = np.zeros(1000)
    values[[13, 777]] = 5.0, 9.0
    values[500:600] = np.nan
    assert {13, 777} <= set(peaks(values, 10))
    assert peaks(np.full(4, np.nan), 2) == peaks(np.array([]), 3) == []


@pytest.mark.parametrize("text", ["", "a", "ab", "abc", "abcd", "é<&,." * 1000, HOSTILE])
def test_a_packed_part_has_nothing_that_html_gives_a_meaning(text):
    packed = pack(text)
    assert not set(packed) & set("<>&\"' \n") and unpack(packed) == text
    digits = re.search(r'DIGITS = "(.*)";', (files("hpcsweep.templates") / "web/report/boot.js").read_text("utf-8"))[1]
    assert set(packed) <= set(digits) and len(digits) == len(set(digits)) == 85
