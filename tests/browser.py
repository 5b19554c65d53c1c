"""A real browser for tests: Chromium with its driver, and axe-core, the checker of accessibility."""

import os
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
