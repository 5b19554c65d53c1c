"""The first screen of the HTML report answers what people ask; its map, buttons and chapters work."""

import re

import pytest
from report_pages import write_report
from selenium.webdriver.common.keys import Keys
from sweep_folders import make_sweep

pytestmark = pytest.mark.browser

WINDOW = {"width": 1400, "height": 900}

VISIBLE_TEXT = """
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const texts = [];
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = range.getBoundingClientRect();
  const shown = node.parentElement.checkVisibility() && box.height > 0;
  if (shown && box.top >= 0 && box.bottom <= arguments[0] && box.right <= arguments[1]) texts.push(node.data);
}
return texts.join(" ").replace(/\\s+/g, " ");
"""


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """Eager and compiled over two lengths, all real: compiled is twice as fast, and one start stalled in compile."""
    folder = tmp_path_factory.mktemp("decided")
    made = make_sweep(folder / "home", axes={"eager": ["yes", "no"], "len": ["8k", "32k"]})
    for number, label in enumerate(made.labels):
        lines = made.lines(label).started(job_id=f"7_{number}")
        if label == "eager-no_len-32k":
            for phase, t_s in (("launch", 0.0), ("load_weights", 20.0), ("compile", 175.0)):
                lines.add("phase_entered", t_s, phase=phase)
            reason = "No progress for 10m in phase compile."
            made.write(label, lines.ended("stalled", 900.0, phase="compile", reason=reason), end="stalled")
        else:
            rate = 0.5 if label.startswith("eager-no") else 1.0
            lines.startup().workload("8k", 12, seed=number, slower=rate)
            made.write(label, lines.ended(), end="completed")
    return write_report(folder, folder / "home")


def first_screen(tab):
    return tab.js(VISIBLE_TEXT, WINDOW["height"], WINDOW["width"])


QUESTIONS = [
    pytest.param(r"Recommended.*: E03 .*eager=no", id="which configuration"),
    pytest.param(r"Against the baseline E01: 8k [+]\d+\.\d %", id="how much faster"),
    pytest.param(r"(Low|Medium|High) confidence", id="how sure"),
    pytest.param(r"E04.*: stalled in compile\. No progress for 10m", id="what failed and why"),
    pytest.param(r"hpcsweep (submit|retry) ", id="what to run next"),
]


@pytest.mark.parametrize("answer", QUESTIONS)
def test_a_question_is_answered_without_scrolling(open_page, decided, answer):
    tab = open_page(decided, **WINDOW)
    assert re.search(answer, first_screen(tab)), first_screen(tab)


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (390, False)], ids=["light", "dark", "phone"])
def test_the_first_screen_has_its_cards_and_fits(open_page, small, width, dark):
    tab = open_page(small, width=width, height=900, dark=dark)
    cards = tab.js("return [...document.querySelectorAll('.first .card')].map((card) => card.className)")
    assert cards == ["card answer", "card next", "card map", "card starts", "card front"]
    assert tab.js("return document.documentElement.scrollWidth") <= width
    bottom = tab.js("return document.querySelector('.first').getBoundingClientRect().bottom")
    if width == WINDOW["width"]:
        assert bottom <= 1.1 * WINDOW["height"]
    tab.check_clean()


def test_the_command_can_be_copied(open_page, decided):
    tab = open_page(decided, **WINDOW)
    tab.js("window.copied = []; navigator.clipboard.writeText = async (text) => { window.copied.push(text); }")
    tab.find("[data-copy]").click()
    assert tab.wait("return document.querySelector('.answer .copied').textContent") == "Copied."
    (copied,) = tab.js("return window.copied")
    assert copied == tab.find("#serve-command").text and "vllm serve" in copied
    tab.js("navigator.clipboard.writeText = async () => { throw new Error('not allowed'); }")
    tab.find("[data-copy]").click()
    tab.wait("return document.querySelector('.answer .copied').textContent.startsWith('Selected')")
    assert "vllm serve" in tab.js("return getSelection().toString()")


def test_the_map_shows_one_tab_and_opens_the_run_of_a_cell(open_page, decided):
    tab = open_page(decided, **WINDOW)
    tabs = tab.driver.find_elements("css selector", "[data-map] [role=tab]")
    assert [one.text for one in tabs] == ["8k", "64k", "Startup"]
    shown = (
        "return [...document.querySelectorAll('.layer')].filter((layer) => layer.checkVisibility()).map((l) => l.id)"
    )
    assert tab.js(shown) == ["map-1"]
    tabs[0].send_keys(Keys.ARROW_LEFT)
    assert tab.js(shown) == ["map-3"]
    assert tab.js("return document.activeElement.textContent") == "Startup"
    failed = tab.find("#map-3 td.failed")
    assert failed.text == "stalled in compile"
    tab.js("arguments[0].focus()", tab.find("#map-3 tbody [tabindex]"))
    tab.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert tab.find("#tip").is_displayed() and "E01" in tab.find("#tip").text
    failed.click()
    assert tab.js("return document.activeElement.closest('tr').cells[1].textContent") == "eager-no_len-32k"
    assert tab.find("#runs tr.opened").is_displayed()
    tab.js("document.querySelector('#map-3 td.base').tabIndex = 0; document.querySelector('#map-3 td.base').focus()")
    tab.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert tab.find("#runs tr.opened").text.startswith("E01 ")


def test_one_chapter_is_shown_and_the_address_says_which(open_page, decided):
    tab = open_page(decided, **WINDOW)
    shown = "return [...document.querySelectorAll('.chapter > h2')].filter((h) => h.checkVisibility()).map((h) => h.id)"
    assert tab.js(shown) == ["chapter-overview"]
    tab.find("nav.chapters a[href='#chapter-failures']").click()
    assert tab.js(shown) == ["chapter-failures"]
    inside = tab.js("return document.querySelector('[aria-labelledby=chapter-startup] table').id")
    tab.js("location.hash = arguments[0]", f"#{inside}")
    tab.wait("return document.getElementById('chapter-startup').checkVisibility()")
    assert tab.js(shown) == ["chapter-startup"]
    tab.show("all")
    assert len(tab.js(shown)) == len(tab.driver.find_elements("css selector", ".chapter"))
    tab.js("history.back()")
    tab.wait("return !document.getElementById('chapter-overview').checkVisibility()")
    assert tab.js(shown) == ["chapter-startup"]


def test_the_theme_button_changes_page_and_plots(open_page, small):
    tab = open_page(small, **WINDOW)
    tab.draw_all()
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = tab.js(colour)
    tab.find("[data-theme-button]").click()
    assert tab.js(colour) != light
    tab.wait("return document.querySelector('#plot-curves .plot').layout.font.color === '#e6eaee'")
    tab.find("[data-theme-button]").click()
    assert tab.js(colour) == light


def test_without_scripts_everything_is_there(driver, decided):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(f"file://{decided}")
        text = driver.find_element("css selector", "body").text
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    for part in ("Recommended", "Startup. ", "stalled in compile", "Method", "Overview"):
        assert part in text
    assert "Copy the command" not in text
