"""The page in a real browser: the slider, the charts, dark and light, a phone, paper."""

import base64
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hardball.commands.report import ReportConfig, report
from hardball.report import style

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
TEMPLATES = Path(style.__file__).parent / "templates"

needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium with chromedriver here: apt-get install chromium-driver",
)
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def place(_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page on two runs."""
    runs = shutil.copytree(_made, tmp_path_factory.mktemp("shown") / "runs")
    asked = ReportConfig([runs / "weak", runs / "strong"], examples=4, attack="pgd-20")
    return report(asked).place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    assert CHROMIUM is not None
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def shown(
    browser: Any, place: Path, *, width: int = 1200, scheme: str = "light", script: bool = True
) -> Iterator[Any]:
    """The page in a window of that width; afterwards it has logged no error."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    # without reduced motion the page would still scroll while the mouse clicks
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    media = [{"name": name, "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.get(place.resolve().as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert browser.get_log("browser") == []


def found(browser: Any, selector: str) -> Any:
    from selenium.webdriver.common.by import By

    return browser.find_element(By.CSS_SELECTOR, selector)


def state(browser: Any) -> tuple[str, list[str], list[str]]:
    """The slider's ε; the picture and the answer of each network."""
    script = """return [document.querySelector('.slide output').textContent,
        [...document.querySelectorAll('.network figure:nth-child(3) img')].map((i) => i.src),
        [...document.querySelectorAll('.answer p')].map((p) => p.textContent)]"""
    eps, pictures, answers = browser.execute_script(script)
    return eps, pictures, answers


def in_table(browser: Any, image: int, eps: int) -> tuple[list[str], list[str]]:
    """The same from the table: picture and answer of each network."""
    script = """return [...document.querySelectorAll('table.strip')].map((table) => {
        const cell = table.tBodies[0].rows[arguments[0]].cells[arguments[1] + 1];
        return [cell.querySelector('img').src, cell.querySelector('span').textContent] })"""
    pictures, answers = zip(*browser.execute_script(script, image, eps), strict=True)
    return list(pictures), list(answers)


@needs_chromium
def test_the_slider_works_by_keyboard_and_by_mouse(browser: Any, place: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    with shown(browser, place):
        slider = found(browser, ".slide input")
        values = browser.execute_script(
            "return [...document.querySelectorAll('table.strip thead')][0].textContent"
        )
        radii = re.findall(r"ε = ([\d.]+)", values)
        slider.send_keys(Keys.END)
        last = state(browser)
        assert last[0] == radii[-1]
        slider.send_keys(Keys.ARROW_LEFT)
        before = state(browser)
        assert before[0] == radii[-2]
        assert before[1] != last[1]
        assert slider.get_attribute("aria-valuetext") == f"ε = {radii[-2]}"
        # the mouse, at the left end: no attack
        left = -slider.size["width"] // 2 + 3
        ActionChains(browser).move_to_element_with_offset(slider, left, 0).click().perform()
        eps, pictures, answers = state(browser)
        assert eps == "0"
        clean, words = in_table(browser, 0, 0)
        assert pictures == clean
        for answer, word in zip(answers, words, strict=True):
            assert answer.startswith(f"predicted {word.split()[0]}, ")
        assert answers != last[2], "the attack changes the prediction or its confidence"
        # and dragged to the right
        ActionChains(browser).drag_and_drop_by_offset(
            slider, slider.size["width"] // 2, 0
        ).perform()
        assert state(browser)[0] != "0"


@needs_chromium
def test_another_image_is_chosen_by_keyboard_and_by_mouse(browser: Any, place: Path) -> None:
    from selenium.webdriver import Keys

    with shown(browser, place):
        now = int(found(browser, ".slide input").get_attribute("value"))
        found(browser, ".pick input").send_keys(Keys.ARROW_RIGHT)
        assert state(browser)[1] == in_table(browser, 1, now)[0]
        found(browser, ".pick label:nth-child(4)").click()
        assert state(browser)[1] == in_table(browser, 3, now)[0]
        confidences = browser.execute_script(
            """return [...document.querySelectorAll('.network:first-child .sure > span')]
                .map((span) => span.textContent)"""
        )
        assert confidences[::2] == [str(k) for k in range(10)]
        assert sum(float(text[:-1]) for text in confidences[1::2]) == pytest.approx(100, abs=1)


@needs_chromium
def test_charts_are_read_by_pointer_and_by_keys(browser: Any, place: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    with shown(browser, place):
        plot, tip = found(browser, ".plot"), found(browser, ".plot .tip")
        assert not tip.is_displayed()
        browser.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot
        )
        ActionChains(browser).move_to_element(plot).perform()
        assert tip.is_displayed()
        assert re.search(r"epoch \d+[\s\S]*weak: \d", tip.text)
        ActionChains(browser).move_to_element(found(browser, "h2")).perform()
        assert not tip.is_displayed()
        browser.execute_script("arguments[0].focus()", plot)
        assert tip.is_displayed()
        plot.send_keys(Keys.END)
        assert tip.text.startswith("epoch 4\n")
        plot.send_keys(Keys.ARROW_LEFT)
        assert tip.text.startswith("epoch 3\n")
        plot.send_keys(Keys.HOME)
        assert tip.text.startswith("epoch 1\n")
        plot.send_keys(Keys.ESCAPE)
        assert not tip.is_displayed()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_colour_scheme(browser: Any, place: Path, scheme: str) -> None:
    with shown(browser, place, scheme=scheme):
        script = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        back, text = (
            sum(map(int, re.findall(r"\d+", colour)[:3]))
            for colour in browser.execute_script(script)
        )
        assert (back > text) == (scheme == "light")


@needs_chromium
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_screen(browser: Any, place: Path, width: int) -> None:
    with shown(browser, place, width=width):
        wide = browser.execute_script(
            """return [document.documentElement.scrollWidth,
            [...document.querySelectorAll('body *')].filter((e) =>
                e.getBoundingClientRect().right > innerWidth + 1
                && !e.closest('.scroll, pre, details:not([open])')).map((e) => e.outerHTML.slice(0, 80))]"""
        )
        assert wide[0] <= width
        assert wide[1] == []


@needs_chromium
def test_nothing_is_fetched(browser: Any, place: Path) -> None:
    with shown(browser, place):
        names = browser.execute_script(
            "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        )
        assert [name for name in names if not name.startswith("data:")] == []


@needs_chromium
def test_without_scripts_all_is_there_but_the_slider(browser: Any, place: Path) -> None:
    with shown(browser, place, script=False):
        assert not found(browser, ".viewer").is_displayed()
        assert found(browser, "table.strip img").is_displayed()
        assert found(browser, ".chart svg .line").is_displayed()


@needs_chromium
def test_it_prints(browser: Any, place: Path) -> None:
    with shown(browser, place):
        printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"]
        assert base64.b64decode(printed).startswith(b"%PDF")
        assert browser.execute_script(
            "return [...document.querySelectorAll('.made')].every((d) => d.open)"
        )


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    full = colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])
    shares = [int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_from_the_page() -> None:
    css = (TEMPLATES / "page.css").read_text()
    schemes = [
        dict(re.findall(r"--(\w+): (#\w+);", block))
        for block in re.findall(r":root \{(.*?)\}", css)
    ]
    light, dark = (scheme for scheme in schemes[:2])
    for scheme, lines in ((light, style.ON_LIGHT), (dark, style.ON_DARK)):
        for name in ("text", "soft", "accent", "good", "doubtful", "bad", "plain"):
            assert contrast(scheme[name], scheme["back"]) >= 4.5, name
        assert all(contrast(colour, scheme["back"]) >= 3 for colour in lines)
