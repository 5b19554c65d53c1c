"""The HTML report in a real browser: nothing on its console, nothing fetched, tables and plots that work."""

from pathlib import Path

import pytest
from browser import contrast, serious_faults
from report_pages import Tab, fill, write_report
from selenium.webdriver.common.keys import Keys
from sweep_folders import make_sweep

from hpcsweep.report.formats.html.tables import ROWS_IN_PAGE

pytestmark = pytest.mark.browser

FIRST_PAINT_MS = 3000
LARGE = 1000


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    axes = {"ep": ["on", "off"], "seqs": [str(n) for n in range(1, LARGE // 2 + 1)]}
    fill(make_sweep(folder / "home", axes=axes, samples=20), 20)
    return write_report(folder, folder / "home")


@pytest.mark.parametrize("which", ["small", "large"])
def test_first_paint_size_and_silence(open_page, request, which, capsys):
    path = request.getfixturevalue(which)
    tab = open_page(path)
    paint_ms = tab.first_paint_ms()
    drawn = tab.draw_all()
    tab.check_clean()
    with capsys.disabled():
        print(f"\n{which}: {path.stat().st_size / 1e6:.2f} MB, first contentful paint {paint_ms} ms")
    assert drawn == ["pareto", "timelines", "effects", "samples", "curves", "telemetry"]
    assert paint_ms < FIRST_PAINT_MS
    assert path.stat().st_size < 5e6


def test_filter_and_sort_over_a_thousand_runs(open_page, large, capsys):
    tab = open_page(large)
    tab.show("explore")
    assert len(tab.column("runs", 1)) == ROWS_IN_PAGE
    total = 2 * LARGE + 1  # two workloads each, one of them left out, and a variant that was not to be run
    total -= LARGE // 10  # a failed run has only the workload that was left out
    assert tab.find("[data-table=runs] .count").text == f"{total:,} rows"
    box = tab.find("[data-table=runs] .filter")
    box.send_keys("ep-off seqs-77 valid")
    assert tab.column("runs", 1) == ["ep-off_seqs-77"]
    assert tab.find("[data-table=runs] .count").text == f"1 of {total:,} rows"
    box.clear()
    box.send_keys("8k")
    ttft = tab.js("return hpcsweepReport.runs.heads.findIndex((h) => h.textContent.startsWith('TTFT'))")
    head = f"#runs thead th:nth-child({ttft + 1})"
    for word, order in (("ascending", 1), ("descending", -1)):
        tab.find(f"{head} button").click()
        assert tab.find(head).get_attribute("aria-sort") == word
        values = [order * float(text.split()[0]) for text in tab.column("runs", ttft)]
        assert values == sorted(values) and len(set(values)) > 5
    tab.find(f"{head} button").click()
    assert tab.find(head).get_attribute("aria-sort") == "none"
    assert tab.column("runs", 1)[:2] == ["ep-on_seqs-1", "ep-on_seqs-2"]
    took = tab.js(
        "const begun = performance.now(); hpcsweepReport.runs.sortBy(arguments[0]); document.body.offsetHeight;"
        "return performance.now() - begun",
        ttft,
    )
    with capsys.disabled():
        print(f"\nsort and lay out: {took:.0f} ms")


def test_the_outcome_filter_reaches_the_plots(open_page, large):
    tab = open_page(large)
    tab.draw_all()
    (outcomes,) = (
        one
        for one in tab.driver.find_elements("css selector", "[data-table=runs] .facet")
        if "stalled in compile" in one.text
    )
    outcomes.send_keys("stalled")
    text = tab.wait(
        "const t = document.querySelector('#plot-timelines-shown').textContent; return t.includes('of 100 runs') && t"
    )
    assert text.startswith("25 of 100 runs")
    assert tab.js("return document.querySelector('#plot-samples .plot').textContent").startswith("Nothing to draw")
    ends = tab.js(
        "const traces = document.querySelector('#plot-timelines .plot').data;"
        "return Math.max(...traces.find((trace) => trace.name === 'ended here').x)"
    )
    assert ends == pytest.approx(895.0)
    tab.check_clean()


def test_more_rows_on_demand(open_page, large):
    tab = open_page(large)
    tab.show("explore")
    buttons = "[data-table=runs] .more button"
    tab.find(buttons).click()
    assert len(tab.column("runs", 0)) == ROWS_IN_PAGE + 100
    tab.driver.find_elements("css selector", buttons)[1].click()
    rows = tab.js("return hpcsweepReport.runs.items.length")
    assert len(tab.column("runs", 0)) == rows
    assert not tab.find("[data-table=runs] .more").is_displayed()
    links = tab.driver.find_elements("css selector", "#runs tbody tr:nth-last-child(2) td.files a")
    assert "server.log" in [one.text for one in links]
    target = links[0].get_attribute("href")
    assert target.startswith("file://") and Path(target.removeprefix("file://")).is_file()


def test_simulated_rows_are_marked_in_tables_and_plots(open_page, small):
    tab = open_page(small)
    tab.draw_all()
    exps = dict(zip(tab.column("runs", 1), tab.column("runs", 0), strict=True))
    marked = tab.js("return hpcsweepReport.data.runs.filter((r) => r.sim).map((r) => r.label)")
    assert 0 < len(marked) < len(exps)
    assert {label for label, exp in exps.items() if exp.endswith("SIMULATED")} == set(marked)
    titles = tab.js("return document.querySelector('#plot-timelines .plot').layout.yaxis.ticktext")
    assert sum("SIMULATED" in title for title in titles) == len(marked)
    for plot in ("samples", "curves", "effects"):
        marks = tab.js("return document.querySelector(`#plot-${arguments[0]} .plot`).layout.annotations", plot)
        assert [mark["text"] for mark in marks] == ["SIMULATED"]


def test_the_keyboard_reaches_everything_in_order(open_page, small):
    tab = open_page(small)

    def press(key):
        tab.driver.switch_to.active_element.send_keys(key)
        return tab.js("const e = document.activeElement; return [e.tagName, e.className, e.textContent.trim()]")

    assert press(Keys.TAB)[1:] == ["skip", "Skip to the report"]
    assert press(Keys.TAB)[2] == "Dark or light"
    tab.find(".skip").send_keys(Keys.ENTER)
    seen = [press(Keys.TAB) for _ in range(80)]
    names = [name for _, _, name in seen]
    assert names.index("Copy the command") < names.index("8k") < names.index("Overview") < names.index("All")
    tab.show("explore")
    tab.find("nav.chapters [aria-current]").send_keys(Keys.TAB)
    seen = [press(Keys.TAB) for _ in range(30)]
    assert "filter" in [name for _, name, _ in seen]
    assert ["BUTTON", "", "Variant"] in seen
    head = tab.find("#runs thead th")
    head.find_element("tag name", "button").send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "ascending"
    order = tab.js("return [...document.querySelectorAll('[tabindex]')].every((e) => e.tabIndex <= 0)")
    assert order, "a positive tabindex would change the order of the page"


def test_every_plot_has_its_data_as_a_table(open_page, small):
    tab = open_page(small)
    tab.show("all")
    for figure in tab.driver.find_elements("css selector", "[data-plot]"):
        figure.find_element("css selector", "details.data summary").click()
        name = figure.get_attribute("data-plot")
        rows = tab.wait("return document.querySelectorAll(`#plot-${arguments[0]} details.data tbody tr`).length", name)
        assert rows > 0
        assert tab.js("return document.querySelector(`#plot-${arguments[0]} details.data caption`).textContent", name)
    names = tab.js("return [...document.querySelectorAll('.plot')].map((e) => e.getAttribute('aria-labelledby'))")
    assert all(names)


@pytest.mark.parametrize("width", [320, 390, 1400])
def test_the_page_is_no_wider_than_the_window(open_page, small, width):
    tab = open_page(small, width=width, height=844)
    tab.draw_all()
    assert tab.js("return document.documentElement.scrollWidth") <= width
    tab.check_clean()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(open_page, small, dark):
    tab = open_page(small, dark=dark)
    tab.draw_all()
    colours = tab.colours("paper", "raised", "ink", "quiet", "link", "mark", "mark-paper")
    assert (sum(colours["paper"]) < 200) == dark
    for text, ground in (
        ("ink", "paper"),
        ("ink", "raised"),
        ("quiet", "paper"),
        ("link", "paper"),
        ("mark", "mark-paper"),
    ):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    ink = tab.js("return document.querySelector('#plot-curves .plot').layout.font.color")
    assert ink == ("#e6eaee" if dark else "#1b1f24")


def test_on_paper_everything_is_open_and_drawn(open_page, small):
    tab = open_page(small)
    tab.wait("return window.Plotly !== undefined")
    tab.js("dispatchEvent(new Event('beforeprint'))")
    assert tab.js("return [...document.querySelectorAll('details.part')].every((d) => d.open)")
    assert tab.js("return document.querySelectorAll('.plot .main-svg').length") >= 6
    assert len(tab.column("runs", 0)) == tab.js("return hpcsweepReport.runs.items.length")
    tab.js("dispatchEvent(new Event('afterprint'))")
    assert not tab.js("return [...document.querySelectorAll('details.part')].every((d) => d.open)")
    paper = tab.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert len(paper["data"]) > 20_000
    tab.check_clean()


def test_a_browser_that_cannot_unpack_says_so(driver, small):
    script = driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.DecompressionStream"}
    )
    try:
        tab = Tab(driver, small, until="return document.querySelector('.trouble') !== null")
        assert "cannot unpack" in tab.find(".trouble").text
        assert tab.column("runs", 0)
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        driver.get_log("browser")


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (390, False)], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_serious(open_page, small, width, dark):
    tab = open_page(small, width=width, dark=dark)
    tab.draw_all()
    assert serious_faults(tab.driver) == {}
