"""The dashboard in a real browser: pages that change without a reload, logs that grow, a clean console."""

import re
import time
from pathlib import Path

import pytest
from browser import Browser, contrast, missing, new_driver, serious_faults
from cli import Cli
from selenium.webdriver.common.keys import Keys

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
ENDS_WITHIN_S = 180  # a run of the sweep, on a busy machine


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        missing("the extra hpcsweep[web] is not installed")
    from dashboard_server import start

    made = start(Cli(tmp_path_factory.mktemp("browser")))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def driver(tmp_path_factory, dashboard):
    found = new_driver(tmp_path_factory.mktemp("profile"))
    found.get(f"http://127.0.0.1:{dashboard.port}/?token={dashboard.link(0)}")
    dashboard.cookie = "; ".join(f"{one['name']}={one['value']}" for one in found.get_cookies())
    yield found
    found.quit()


@pytest.fixture(scope="module")
def cli(dashboard, driver):
    return Cli(Path(f"/proc/{dashboard.process.pid}/cwd").readlink())


@pytest.fixture(scope="module")
def sweep(cli):
    """A sweep that has ended."""
    return _submit(cli, "--wait")


def _submit(cli, *options):
    done = cli.run("submit", "exp_runner", "--grid", "ep,eager", "--cluster", "local", *options)
    return re.search(r"^(exp_runner-\d+): \d+ runs, ", done.stdout, flags=re.MULTILINE)[1]


class Tab(Browser):
    """A page of the dashboard that is open in the browser. `base`: its address without a path."""

    def __init__(self, driver, base):
        super().__init__(driver)
        self.base = base

    def open(self, path):
        self.driver.get(self.base + path)
        self.wait("return document.readyState === 'complete'")

    def follow(self, selector):
        """Click a link; the page after it."""
        self.js("window.before = true")
        self.driver.find_element("css selector", selector).click()
        self.wait("return window.before === undefined && document.readyState === 'complete'")

    def check_clean(self):
        assert self.driver.get_log("browser") == []


@pytest.fixture
def tab(driver, dashboard):
    driver.get_log("browser")
    made = Tab(driver, f"http://127.0.0.1:{dashboard.port}")
    _emulate(driver)
    yield made
    _emulate(driver)


def _emulate(driver, width=1400, dark=False):
    media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


STARTS = (
    "return Object.fromEntries([...document.querySelectorAll('tr.g-running[data-key]')].map((row) =>"
    " [row.dataset.key, [...row.querySelectorAll('rect')].map((bar) => bar.getAttribute('width')).join()]))"
)


def _growing(tab):
    """The run whose startup bar is the first to grow; one that is being measured has a bar that stays."""
    before = {}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        now = tab.js(STARTS)
        grown = [key for key, widths in now.items() if key in before and widths != before[key] != ""]
        if grown:
            return grown[0]
        before = now | before
        time.sleep(0.05)
    pytest.fail(f"no startup bar grew: {before}")


def test_a_running_sweep_is_followed_from_the_index_to_the_report(tab, cli):
    tab.open("/")
    tab.js("window.opened = 'once'")
    name = _submit(cli)
    row = f'tr[data-key="{name}"]'
    tab.wait("return document.querySelector(arguments[0]) !== null", row)
    assert tab.js("return window.opened") == "once", "the index was not loaded again"
    tab.follow(f"{row} a")
    tab.js("window.opened = 'once'")
    key = _growing(tab)
    run = f'tr[data-key="{key}"]'
    tab.follow(f"{run} a")
    tab.js("window.opened = 'once'")
    length = "return document.querySelector('[data-log=server] code').textContent.length"
    begun = tab.wait(length)
    with (cli.home / "sweeps" / name / "runs" / key / "attempt-1" / "server.log").open("a") as log:
        log.write("a line that the test added\n")
    tab.wait(f"{length} > arguments[0]", begun)
    state = "return document.querySelector('[data-cell=state]').textContent"
    tab.wait(f"{state} !== 'running'", seconds=ENDS_WITHIN_S)
    tab.wait("return document.querySelector('[data-fresh=body] table') !== null")
    assert tab.js("return window.opened") == "once", "the page of the run was not loaded again"
    tab.follow('header nav a[href$="' + name + '"]')
    tab.js("window.opened = 'once'")
    tab.wait("return document.querySelector('[data-field=count-waiting]').textContent === '0'", seconds=ENDS_WITHIN_S)
    tab.wait("return document.querySelector('[data-field=count-running]').textContent === '0'", seconds=ENDS_WITHIN_S)
    assert "All runs have ended" in tab.js("return document.querySelector('[data-list=next]').textContent")
    assert tab.js("return window.opened") == "once"
    tab.check_clean()
    tab.follow('a[href$="/report"]')
    tab.wait("return document.documentElement.dataset.ready === 'yes'")
    assert "GLM-4.6" in tab.driver.title
    tab.check_clean()


def test_rows_are_chosen_by_words_and_by_state(tab, sweep):
    tab.open(f"/sweeps/{sweep}")
    shown = "return [...document.querySelectorAll('tr[data-key]:not([hidden])')].map((row) => row.dataset.key)"
    assert len(tab.js(shown)) == 4
    tab.driver.find_element("css selector", "[data-filter]").send_keys("ep-off eager-yes")
    assert tab.js(shown) == ["ep-off_eager-yes_len-32k"]
    tab.driver.find_element("css selector", "[data-filter]").clear()
    tab.driver.find_element("css selector", "[data-filter]").send_keys(" ")
    tab.driver.find_element("css selector", "[data-group=failed]").click()
    assert all("eager-no" in key for key in tab.js(shown)) and tab.js(shown)
    tab.check_clean()


def test_the_keyboard_reaches_everything_in_order(tab, sweep):
    tab.open(f"/sweeps/{sweep}")

    def press(key):
        tab.driver.switch_to.active_element.send_keys(key)
        return tab.js("const e = document.activeElement; return [e.tagName, e.textContent.trim()]")

    assert press(Keys.TAB) == ["A", "Skip to the content"]
    seen = [press(Keys.TAB) for _ in range(40)]
    names = [name for _, name in seen]
    for wanted in ("hpcsweep", "Sweeps", "Compare", "Report", "ep-on_eager-yes_len-32k"):
        assert wanted in names, wanted
    assert ["INPUT", ""] in seen
    outline = "const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none'"
    assert tab.js(outline), "the focus can be seen"
    assert tab.js("return [...document.querySelectorAll('[tabindex]')].every((e) => e.tabIndex <= 0)")


def _paths(dashboard, sweep):
    run = dashboard.ask(f"/api/sweeps/{sweep}").json()["sweeps"][0]["runs"][-1]["run"]
    variant = dashboard.ask(f"/api/sweeps/{sweep}/runs/{run}").json()["variant_id"]
    yield from ("/", f"/sweeps/{sweep}", f"/sweeps/{sweep}/runs/{run}", "/compare", "/nothing")
    yield from (f"/compare?first={sweep}&second={sweep}", f"/history?variant={variant}")


@pytest.mark.parametrize("width", [320, 390, 1400])
def test_no_page_is_wider_than_the_window(tab, dashboard, sweep, width):
    _emulate(tab.driver, width)
    for path in _paths(dashboard, sweep):
        tab.open(path)
        assert tab.js("return document.documentElement.scrollWidth") <= width, path
        assert tab.js("return document.querySelector('h1').textContent.trim()"), path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(tab, sweep, dark):
    _emulate(tab.driver, dark=dark)
    tab.open(f"/sweeps/{sweep}")
    colours = tab.colours(
        "paper", "raised", "ink", "quiet", "link", "mark", "mark-paper", "good", "bad", "busy", "wait"
    )
    assert (sum(colours["paper"]) < 200) == dark
    for text in ("ink", "quiet", "link", "good", "bad", "busy", "wait"):
        for ground in ("paper", "raised"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["mark"], colours["mark-paper"]) >= 4.5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(tab, dashboard, sweep, dark):
    _emulate(tab.driver, dark=dark)
    for path in _paths(dashboard, sweep):
        tab.open(path)
        assert serious_faults(tab.driver) == {}, path


def test_a_page_is_complete_without_scripts(tab, sweep):
    tab.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        tab.driver.get(f"{tab.base}/sweeps/{sweep}?filter=ep-off&group=completed")
        rows = tab.driver.find_elements("css selector", "tr[data-key]")
        assert [row.find_element("tag name", "th").text for row in rows] == ["ep-off_eager-yes_len-32k"]
        assert tab.driver.find_elements("css selector", "rect")
    finally:
        tab.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_lost_connection_is_shown_and_a_dead_link_explains(tab, dashboard, sweep):
    tab.open(f"/sweeps/{sweep}")
    tab.driver.execute_cdp_cmd("Network.enable", {})
    code, seconds, errors = dashboard.interrupt()
    assert (code, errors) == (0, "") and seconds < 2
    text = tab.wait("const t = document.querySelector('.live.lost'); return t !== null && t.textContent")
    assert "Connection lost" in text
