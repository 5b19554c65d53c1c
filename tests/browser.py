"""A real browser for tests: Chromium with its driver, and axe-core, the checker of accessibility."""

import os
import time
from pathlib import Path

import pytest
from selenium import webdriver

CHROMIUM = next(
    (p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(p).exists()), None
)
DRIVER = next((p for p in ("/usr/bin/chromedriver", "/usr/lib/chromium/chromedriver") if Path(p).exists()), None)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def missing(what):
    """Skip the test with the reason; in CI, where everything is installed, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def new_driver(profile):
    """Start Chromium with its profile in a new folder. The caller quits it."""
    if CHROMIUM is None or DRIVER is None:
        missing("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, "--window-size=1400,1000", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    return driver


AXE = Path(__file__).parents[1] / "templates/web/node_modules/axe-core/axe.min.js"


def serious_faults(driver):
    """What axe-core finds that keeps people from reading or operating the page: rule -> the elements."""
    if not AXE.exists():
        missing("no axe-core: scripts/check-web installs it")
    driver.execute_script(AXE.read_text())
    found = driver.execute_async_script("axe.run({resultTypes: ['violations']}).then(arguments[0])")
    return {
        rule["id"]: [node["html"][:160] for node in rule["nodes"][:3]]
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    }


def contrast(first, second):
    """Ratio of WCAG 2.2 of two colours, each (r, g, b) of 0 to 255."""

    def luminance(colour):
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


class Browser:
    """What the pages of all tests can do."""

    def __init__(self, driver):
        self.driver = driver

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

    def colours(self, *names):
        """The colours of these CSS variables, each (r, g, b) of 0 to 255."""
        return self.js(
            "const c = document.createElement('canvas').getContext('2d');"
            "const style = getComputedStyle(document.documentElement);"
            "return Object.fromEntries(arguments[0].map((name) => {"
            "c.fillStyle = style.getPropertyValue(`--${name}`); c.fillRect(0, 0, 1, 1);"
            "return [name, [...c.getImageData(0, 0, 1, 1).data].slice(0, 3)]; }))",
            list(names),
        )
