"""Report pages of made-up sweeps in a real browser, for the tests of the HTML report."""

import json

import pytest
from browser import Browser, new_driver
from click.testing import CliRunner
from sweep_folders import make_sweep

from hpcsweep.cli.main import main


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A browser of its own for each module."""
    made = new_driver(tmp_path_factory.mktemp("profile"))
    yield made
    made.quit()


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


class Tab(Browser):
    """A page that is open in the browser."""

    def __init__(self, driver, path, until="return document.documentElement.dataset.ready === 'yes'"):
        super().__init__(driver)
        for kind in ("browser", "performance"):
            driver.get_log(kind)  # what came before is not ours
        driver.get(f"file://{path}")
        self.wait(until)

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
        """Show all chapters, scroll to every plot and wait until it is drawn; their names."""
        self.show("all")
        names = self.js("return [...document.querySelectorAll('[data-plot]')].map((f) => f.dataset.plot)")
        for name in names:
            self.js("document.querySelector(`#plot-${arguments[0]} .plot`).scrollIntoView({block: 'center'})", name)
            self.wait("return document.querySelector(`#plot-${arguments[0]} .main-svg`) !== null", name)
        return names

    def show(self, chapter):
        """Show one chapter, or `all`."""
        self.js("location.hash = arguments[0]", f"#{chapter}")
        shown = "return document.querySelector('nav.chapters [aria-current]').hash === arguments[0]"
        self.wait(shown, f"#{chapter}")

    def check_clean(self):
        """No word on the console, and no request but for the file itself."""
        assert self.driver.get_log("browser") == []
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [
            self.driver.current_url.partition("#")[0]
        ]

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
