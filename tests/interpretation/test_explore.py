"""`hardball explore`: what the page shows, and the page itself in a headless browser."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from hardball.commands.explore import ExploreConfig, Explorer, explorer
from hardball.commands.explore_page import DRAWN, HOST, PICKED, Asked, answer, free_port
from hardball.report import explore_pictures

Hardball = Callable[..., tuple[int, str, str]]

FIRST = Asked(source=PICKED, index=0, eps=0.1, attack="pgd-20", label="its own")


@pytest.fixture(scope="module")
def shown(runs: Path) -> Explorer:
    """Two runs of the digits."""
    return explorer(ExploreConfig([runs / "at", runs / "eat"]))


def ink() -> dict[str, Any]:
    """What the page sends of a drawing: a vertical stroke."""
    layer = np.zeros((280, 280, 4), dtype=np.uint8)
    layer[40:240, 130:150, 3] = 255
    return {"layers": [layer], "background": None, "composite": None}


def test_the_slider_begins_at_the_largest_trained_eps(shown: Explorer) -> None:
    assert (shown.eps, shown.most, shown.norm) == (0.2, 1.0, "linf")
    assert next(iter(shown.attacks)) == "fgsm"
    assert shown.names == ["at", "eat"]


def test_a_picked_image(shown: Explorer) -> None:
    found = answer(shown, FIRST)
    label = int(shown.subjects[0].data.labels[0])
    assert found.message == f"Image 0, class {label}:"
    assert found.panels is not None
    for panel, name in zip(found.panels, ("at", "eat"), strict=True):
        assert panel.name == name
        assert sum(panel.before.values()) == pytest.approx(1)
        assert list(panel.after) == [str(number) for number in range(10)]
        for picture in (panel.attacked, panel.perturbation, panel.saliency):
            assert picture.shape == (224, 224, 3)
        assert panel.scales[0] <= 0.1 + 1e-6


def test_a_larger_eps_never_shows_less_than_none(shown: Explorer) -> None:
    """At 0 nothing changes; at 1 both small networks are broken, and it says so."""
    for eps, word in ((0.0, "ε = 0 allows no attack"), (1.0, "broken: ")):
        panels = shown.panels(shown.picked(0)[0], None, "pgd-20", eps)
        assert all(word in panel.sentence for panel in panels)
        assert all((panel.before == panel.after) == (eps == 0) for panel in panels)


def test_another_class_than_the_predicted_one_is_wrong_already(shown: Explorer) -> None:
    image, _ = shown.picked(0)
    predicted = {
        max(p.before, key=p.before.__getitem__) for p in shown.panels(image, None, "fgsm", 0.1)
    }
    other = next(k for k in range(10) if str(k) not in predicted)
    found = answer(shown, Asked(source=PICKED, index=0, eps=0.1, attack="fgsm", label=str(other)))
    assert found.panels is not None
    assert all("without any attack" in panel.sentence for panel in found.panels)


def test_a_drawing(shown: Explorer) -> None:
    asked = Asked(source=DRAWN, index=0, eps=0.1, attack="fgsm", label="its own", sketch=ink())
    found = answer(shown, asked)
    assert found.message == "Your drawing, as the networks get it:"
    assert found.image is not None
    assert found.image[:, 100:124].mean() > 3 * found.image[:, :60].mean() + 10  # in the middle
    assert found.panels is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 360}, "**image 360 of 360; allowed is 0 … 359**"),
        ({"index": None}, "Give the number of an image, 0 … 359."),
        ({"source": DRAWN}, "Draw above."),
        ({"eps": 2.0}, "**eps=2 for linf; allowed is a number"),
        ({"attack": "pdg-20"}, "**unknown attack 'pdg-20'"),
    ],
)
def test_mistakes_are_messages(shown: Explorer, change: dict[str, Any], message: str) -> None:
    found = answer(shown, Asked(**{**vars(FIRST), **change}))
    assert found.message.startswith(message)
    assert found.panels is None


def test_pictures_of_signs() -> None:
    values = np.array([[[0.5, 0.0], [-0.25, -0.5]]])
    pixels, scale = explore_pictures.signed(values)
    assert scale == 0.5
    assert pixels.shape == (224, 224, 3)
    red, white, light, blue = pixels[0, 0], pixels[0, -1], pixels[-1, 0], pixels[-1, -1]
    assert red[0] > red[2] + 60
    assert white.min() > 240
    assert blue[2] > blue[0] + 60
    assert blue[0] < light[0] < white[0]
    pixels, scale = explore_pictures.signed(np.zeros((1, 3, 3)))
    assert scale == 0
    assert pixels.min() > 240


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("at", "wide", "eat", "at", "wide"), "5 runs to explore; allowed is 1 … 4"),
        (("at", "at"), "at is named twice"),
        (("at", "--norm", "unbounded", "--eps", 1), "--norm unbounded has no ε to move"),
        (("at", "--eps", 2), "eps=2 for linf"),
        (("at", "--port", 0), "--port 0; allowed is 1 … 65535"),
        (("at", "--split", "tset"), "split=tset; allowed is test, train"),
        (("nowhere",), "no run and no weights at nowhere"),
        (("empty",), "empty has no weights yet"),
        ((), "missing RUN"),
    ],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line(words: tuple[object, ...], message: str, hardball: Hardball) -> None:
    pytest.importorskip("gradio")
    Path("empty").mkdir(exist_ok=True)
    shutil.copy("at/config.yaml", "empty")
    code, _, err = hardball("explore", *words)
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


def test_without_gradio_the_extra_is_named(
    hardball: Hardball, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = hardball("explore", "at")
    assert code == 2
    assert err == "hardball: error: the explorer needs gradio: pip install 'hardball[app]'\n"


def test_a_port_that_is_taken_is_refused(hardball: Hardball) -> None:
    pytest.importorskip("gradio")
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        code, _, err = hardball("explore", "at", "--port", port)
    assert code == 2
    assert f"--port {port} is taken" in err


WATCHED = """
import json, socket, sys
from pathlib import Path

connect = socket.socket.connect

def watched(self, address):
    with Path(sys.argv[1]).open("a") as file:
        print(json.dumps(address), file=file)
    connect(self, address)

socket.socket.connect = watched
from hardball.cli import main
main(sys.argv[2:])
"""
"""The command, which writes down what it connects to."""


@pytest.fixture(scope="module")
def served(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The page's address, and the file of what the program that serves it connects to."""
    pytest.importorskip("gradio")
    seen = tmp_path_factory.mktemp("explore") / "connections"
    seen.touch()
    words = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        WATCHED,
        seen,
        "explore",
        runs / "at",
        runs / "eat",
    ]
    process = subprocess.Popen(
        [*map(str, words), "--port", str(free_port(None))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(f"open http://{HOST}:")
    address = line.split()[1]
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            urlopen(address, timeout=5).close()
            break
        except OSError:
            time.sleep(0.2)
    yield address, seen
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    selenium = pytest.importorskip("selenium.webdriver")
    found, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if found is None or driver is None:
        pytest.skip(
            "Chromium and its driver are not here: apt-get install chromium chromium-driver"
        )
    options = selenium.ChromeOptions()
    options.binary_location = found
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument("--window-size=1400,1500")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    opened = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield opened
    opened.quit()


def _text(browser: Any, name: str, wanted: Callable[[str], bool], seconds: float = 120) -> str:
    """The text of the element of that id, once it is as wanted."""
    end, text = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        found = browser.find_elements("id", name)
        try:
            text = found[0].text if found else ""
        except Exception:  # replaced while it was read
            text = ""
        if wanted(text):
            return text
        time.sleep(0.2)
    raise AssertionError(f"{name} still says {text!r} after {seconds} seconds")


def test_in_the_browser(served: tuple[str, Path], browser: Any) -> None:
    address, seen = served
    browser.get(address)
    _text(browser, "sentence1", lambda text: text.startswith(("predicts", "broken", "holds")))
    first = _text(browser, "message", lambda text: text.startswith("Image 0"))
    assert "class" in first
    # ε by hand: at 0 there is no attack
    number = browser.find_element("css selector", "#eps input[type=number]")
    browser.execute_script("arguments[0].select()", number)
    number.send_keys("0", "\n")
    browser.execute_script("arguments[0].blur()", number)
    for run in range(2):
        _text(browser, f"sentence{run}", lambda text: "ε = 0 allows no attack" in text)
    # a digit is drawn
    from selenium.webdriver import ActionChains

    browser.find_element("css selector", "#sketch button[aria-label=Brush]").click()
    time.sleep(0.5)
    canvas = browser.find_elements("css selector", "#sketch canvas")[-1]
    pen = ActionChains(browser).move_to_element_with_offset(canvas, 0, -70).click_and_hold()
    pen.move_by_offset(0, 70).move_by_offset(0, 70).release().perform()
    _text(browser, "message", lambda text: text.startswith("Your drawing"))
    # no script failed, and nothing came from elsewhere, neither to the page nor to the program
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        one["params"]["request"]["url"]
        for one in asked
        if one["method"] == "Network.requestWillBeSent"
    ]
    assert len(urls) > 10
    elsewhere = [url for url in urls if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []
    connected = [json.loads(line) for line in seen.read_text().splitlines()]
    assert all(host in (HOST, "localhost", "::1") for host, *_ in connected)


def test_it_answers_this_machine_alone(served: tuple[str, Path]) -> None:
    """127.0.0.2 is this machine too, but another address: what listens on all would answer there."""
    port = int(served[0].rpartition(":")[2])
    with socket.create_connection((HOST, port), timeout=5):
        pass
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port), timeout=5)
