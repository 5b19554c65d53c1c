"""The HTML report in a real browser: nothing on its console, nothing fetched, tables and plots that work."""

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from sweep_folders import make_sweep

from hpcsweep.cli.main import main
from hpcsweep.report.formats.html.tables import ROWS_IN_PAGE

pytestmark = pytest.mark.browser

CHROMIUM = next(
    (p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(p).exists()), None
)
DRIVER = next((p for p in ("/usr/bin/chromedriver", "/usr/lib/chromium/chromedriver") if Path(p).exists()), None)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
FIRST_PAINT_MS = 3000
LARGE = 1000


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if CHROMIUM is None or DRIVER is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no chromium and chromedriver: the HTML report cannot be tested")
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, "--window-size=1400,1000", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    found.set_script_timeout(60)
    yield found
    found.quit()


def write_report(folder, home):
    target = folder / "report.html"
    result = CliRunner().invoke(
        main, ["--home", str(home), "report", "-o", str(target)], env={"HPCSWEEP_STORE": ""}, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return target


def fill(made, samples):
    """Completed attempts, every tenth one failed in torch.compile; half of them simulated."""
    for number, label in enumerate(made.labels):
        lines = made.lines(label).started(job_id=f"12_{number}", simulated=number % 2 == 0).startup()
        if number % 10 == 9:
            lines = made.lines(label).started(simulated=number % 2 == 0)
            for phase, t_s in (("launch", 0.0), ("load_weights", 20.0), ("compile", 175.0)):
                lines.add("phase_entered", t_s, phase=phase)
            folder = made.write(
                label, lines.ended("stalled", 900.0, phase="compile", reason="no sign of life"), end="stalled"
            )
        else:
            lines.workload("8k", samples, seed=number)
            for reading in range(5):
                figures = {"running": 1.0, "waiting": float(reading), "kv_cache_usage": reading / 10}
                lines.add("telemetry", 252.0 + reading, workload="8k", figures=figures)
            folder = made.write(label, lines.ended(), end="completed")
        (folder / "server.log").write_text("a log\n")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    fill(
        make_sweep(
            folder / "home", axes={"ep": ["on", "off"], "len": ["8k", "32k", "64k"], "eager": ["yes", "no"]}, samples=8
        ),
        8,
    )
    return write_report(folder, folder / "home")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    axes = {"ep": ["on", "off"], "seqs": [str(n) for n in range(1, LARGE // 2 + 1)]}
    fill(make_sweep(folder / "home", axes=axes, samples=20), 20)
    return write_report(folder, folder / "home")


class Tab:
    """A page that is open in the browser."""

    def __init__(self, driver, path, until="return document.documentElement.dataset.ready === 'yes'"):
        self.driver = driver
        for kind in ("browser", "performance"):
            driver.get_log(kind)  # what came before is not ours
        driver.get(f"file://{path}")
        self.wait(until)

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)

    def wait(self, script, *args, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = self.js(script, *args)
            if value:
                return value
            time.sleep(0.05)
        pytest.fail(f"never true: {script}; console: {self.driver.get_log('browser')}")

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def column(self, table, number):
        return self.js(
            "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
            ".map((row) => row.cells[arguments[1]].textContent)",
            table,
            number,
        )

    def draw_all(self):
        """Scroll to every plot and wait until it is drawn; their names."""
        names = self.js("return [...document.querySelectorAll('[data-plot]')].map((f) => f.dataset.plot)")
        for name in names:
            self.js("document.querySelector(`#plot-${arguments[0]} .plot`).scrollIntoView({block: 'center'})", name)
            self.wait("return document.querySelector(`#plot-${arguments[0]} .main-svg`) !== null", name)
        return names

    def check_clean(self):
        """No word on the console, and no request but for the file itself."""
        assert self.driver.get_log("browser") == []
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [self.driver.current_url]

    def first_paint_ms(self):
        return self.wait(
            "return performance.getEntriesByName('first-contentful-paint').map((e) => Math.ceil(e.startTime))[0]"
        )


@pytest.fixture
def open_page(driver):
    def opened(path, width=1400, height=1000, dark=False):
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        return Tab(driver, path)

    yield opened
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


@pytest.mark.parametrize("which", ["small", "large"])
def test_first_paint_size_and_silence(open_page, request, which, capsys):
    path = request.getfixturevalue(which)
    tab = open_page(path)
    paint_ms = tab.first_paint_ms()
    drawn = tab.draw_all()
    tab.check_clean()
    with capsys.disabled():
        print(f"\n{which}: {path.stat().st_size / 1e6:.2f} MB, first contentful paint {paint_ms} ms")
    assert drawn == ["timelines", "effects", "pareto", "samples", "curves", "telemetry"]
    assert paint_ms < FIRST_PAINT_MS
    assert path.stat().st_size < 5e6


def test_filter_and_sort_over_a_thousand_runs(open_page, large, capsys):
    tab = open_page(large)
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
    assert press(Keys.TAB)[2] == "Summary"
    tab.find(".skip").send_keys(Keys.ENTER)
    seen = [press(Keys.TAB) for _ in range(60)]
    assert "filter" in [name for _, name, _ in seen]
    assert ["BUTTON", "", "Variant"] in seen
    head = tab.find("#runs thead th")
    head.find_element("tag name", "button").send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "ascending"
    order = tab.js("return [...document.querySelectorAll('[tabindex]')].every((e) => e.tabIndex <= 0)")
    assert order, "a positive tabindex would change the order of the page"


def test_every_plot_has_its_data_as_a_table(open_page, small):
    tab = open_page(small)
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


def contrast(first, second):
    """Ratio of WCAG 2.2 of two colours, each (r, g, b) of 0 to 255."""

    def luminance(colour):
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(open_page, small, dark):
    tab = open_page(small, dark=dark)
    tab.draw_all()
    colours = tab.js(
        "const c = document.createElement('canvas').getContext('2d');"
        "const style = getComputedStyle(document.documentElement);"
        "return Object.fromEntries(['paper', 'raised', 'ink', 'quiet', 'link', 'mark', 'mark-paper'].map((name) => {"
        "c.fillStyle = style.getPropertyValue(`--${name}`); c.fillRect(0, 0, 1, 1);"
        "return [name, [...c.getImageData(0, 0, 1, 1).data].slice(0, 3)]; }))"
    )
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


AXE = Path(__file__).parents[2] / "templates/web/node_modules/axe-core/axe.min.js"


def serious_faults(tab):
    """What axe-core finds that keeps people from reading or operating the page: rule, then the elements."""
    if not AXE.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("no axe-core: scripts/check-web installs it")
        pytest.skip("no axe-core: scripts/check-web installs it")
    tab.js(AXE.read_text())
    found = tab.driver.execute_async_script("axe.run({resultTypes: ['violations']}).then(arguments[0])")
    return {
        rule["id"]: [node["html"][:160] for node in rule["nodes"][:3]]
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    }


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (390, False)], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_serious(open_page, small, width, dark):
    tab = open_page(small, width=width, dark=dark)
    tab.draw_all()
    assert serious_faults(tab) == {}
