"""Config files that say anything: refused in one line, or read; never a traceback."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardball.cli import main
from hardball.errors import Damaged, UserError
from hardball.runs import RunFolder
from hardball.training import Settings

VALUES: list[Any] = [
    "text",
    -1,
    1.5,
    None,
    [],
    [1, "a"],
    {"a": 1},
    True,
    10**30,
    math.nan,
    "falseJ",
]
GONE = object()
READERS = {
    "resume": ["train", "--resume", "r"],
    "evaluate": ["evaluate", "r", "--attacks", "fgsm", "--n", "5"],
    "extend": [
        "extend",
        "r",
        "--eps",
        "0.1",
        "--epochs",
        "1",
        "--validation",
        "1400",
        "--out",
        "x",
    ],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    train = "train --data digits --eps 0.05 --epochs 1 --steps 1 --validation 1400".split()  # noqa: SIM905
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*train, "--model-args", "{width: 2}", "--out", str(folder / "r")])
    return folder


def leaves(config: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a config has a value: sections and single values."""
    for name, value in config.items():
        yield (*place, name)
        if isinstance(value, dict):
            yield from leaves(value, (*place, name))


def changed(config: dict[str, Any], place: tuple[str, ...], value: object) -> dict[str, Any]:
    found = copy.deepcopy(config)
    inner = found
    for name in place[:-1]:
        inner = inner[name]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return found


def reached(*_: object, **__: object) -> None:
    raise UserError("everything is read, and the training would begin")


STRIDE = 12
"""Of the values, so many fewer are tried at each place; 1 tries all."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", READERS)
def test_any_value_in_a_run_s_config_is_read_or_refused_in_one_line(
    reader: str, run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run)
    file = RunFolder(Path("r")).config_file
    sealed = file.read_bytes()
    config = yaml.safe_load(sealed)
    monkeypatch.setattr("hardball.commands.train.fit", reached)
    bad = []
    for number, place in enumerate(leaves(config)):
        for value in (*VALUES, GONE)[number % STRIDE :: STRIDE]:
            file.write_text(yaml.safe_dump(changed(config, place, value)))
            capfd.readouterr()
            try:
                main(READERS[reader])
            except SystemExit as ended:
                lines = capfd.readouterr().err.count("\n")
                if ended.code not in (0, 2) or (ended.code == 2 and lines != 1):
                    bad.append((place, value, ended.code))
            except Exception as error:
                bad.append((place, value, repr(error)[:150]))
    file.write_bytes(sealed)
    assert not bad


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"machine": {"compile": "falseJ"}}, "machine machine: compile='falseJ'; allowed is bool"),
        ({"batch_size": True}, "settings: batch_size=True; allowed is int"),
        ({"validation": 1.5}, "settings: validation=1.5; allowed is int | None"),
        ({"attack": 3}, "settings: attack=3; allowed is dict | None"),
        (
            {"attack": {"mode": "tr"}},
            "attack attack: mode='tr'; allowed is Literal['eval', 'train']",
        ),
        ({"objective": {"name": "trades", "beta": "x"}}, "beta='x'; allowed is float"),
        ({"optimizer": {"lr": [1] * 99}}, "optimizer optimizer: lr=[1, 1, 1, 1, 1"),
    ],
)
def test_settings_of_other_types_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Settings.of(values)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_numbers_of_a_config_may_be_whole(run: Path) -> None:
    assert Settings.of({"optimizer": {"lr": 1}}).optimizer.lr == 1
    written = RunFolder(run / "r").config()
    assert Settings.of(written).as_config().items() <= written.items()


@pytest.mark.parametrize(
    "text",
    ["[", "a: &a [*a]", "- 1", "data: 3", "model: {name: x}", "!!python/object:os.x {}", "\x00"],
)
def test_a_file_that_is_no_config_is_damaged(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    config = RunFolder(tmp_path).config
    with pytest.raises(Damaged, match=r"config\.yaml.*restore it from a copy") as caught:
        config()
    assert len(str(caught.value)) < 400


def test_a_deep_config_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("[" * 5000 + "]" * 5000)
    with pytest.raises(Damaged, match="recursion"):
        RunFolder(tmp_path).config()


UNFOLDING = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
HOSTILE = {
    "large": ('eps: "' + "a" * 25_000_000 + '"\n', "25,000,008 bytes; allowed are"),
    "deep lists": (f"eps: {'[' * 5000}{']' * 5000}\n", "maximum recursion depth"),
    "deep mappings": (
        f"{'{a: ' * 60}1{'}' * 60}\n",
        "unfolds to more than 10,000 values or 32 lev",
    ),
    "itself": ("eps: &a [*a]\n", "unfolds to more than 10,000 values or 32 levels"),
    "its own argument": ("model_args: &a {width: *a}\n", "unfolds to more than"),
    "its own group": ("attack: &a {attack: *a}\n", "unfolds to more than"),
    "unfolding": (UNFOLDING, "unfolds to more than"),
    "a tag": ('steps: !!python/object/apply:os.system ["true"]\n', "could not determine"),
    "a large number": (f"eps: {'9' * 6000}\n", "Exceeds the limit"),
    "a list as key": ("? [1, 2]\n: 3\n", "while constructing a mapping"),
    "more digits than a float": (f"lr: {'9' * 400}\n", "99999999999999999999... has 400 digits"),
    "nothing as key": ("? \n: 3\n", "the key 'None' is no name"),
    "a number as key": ("1: 3\n", "the key '1' is no name"),
    "no such day": ("eps: 2001-13-45\n", "month must be in 1..12"),
    "a merge of nothing": ("<<: 3\neps: 1\n", "while constructing a mapping"),
    "nothing": ("", "no YAML mapping"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text, message = HOSTILE[name]
    Path("c.yaml").write_text(text)
    Path("r").mkdir()
    Path("r/config.yaml").write_text(text)
    for words in (["train", "--eps", "0.1", "--config", "c.yaml"], ["evaluate", "r"]):
        with pytest.raises(SystemExit, match=r"^2$"):
            main(words)
        said = capfd.readouterr().err
        assert message in said
        assert said.count("\n") == 1
        assert len(said) < 400
