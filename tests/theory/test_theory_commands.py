"""The commands `limit` and `theory …` as functions: what they write and what they refuse."""

import json
import math
import shlex
import sys

import numpy as np
import pytest

from hardball.cli import limit as limit_command
from hardball.cli import theory as theory_commands
from hardball.cli.flags import config_of
from hardball.cli.main import main
from hardball.commands.limit import LimitConfig
from hardball.data import load_dataset
from hardball.errors import UserError
from hardball.report import theory_figures
from hardball.theory import bernoulli, forced_error


def limit(**flags):
    """The command, called as a function."""
    return limit_command.limit(LimitConfig(**flags))


def theory(topic, **flags):
    """A part of the command, called as a function."""
    function = getattr(theory_commands, topic)
    config = config_of(function)
    assert config is not None
    return function(config(**flags))


def test_limit_adds_entries_that_agree_with_the_library(tmp_path):
    out = tmp_path / "limits.json"
    assert limit(eps=[0.1, 0.3], split="test", out=out) == 0
    assert limit(norm="l0", eps=[10], split="both", first=200, out=out, note="alone") == 0
    found = json.loads(out.read_text())
    assert sorted(found) == ["digits/both/l0", "digits/test/linf"]
    test = load_dataset("digits", split="test")
    expected = forced_error(test.images, test.labels, eps=0.3)
    point = found["digits/test/linf"]["curve"][1]
    assert point["wrong"] == [expected.lower, expected.upper]
    assert point["error"] == pytest.approx(expected.error)
    assert point["conflicts"] == expected.conflicts > 0
    assert found["digits/both/l0"]["images"] == 400
    assert found["digits/both/l0"]["note"] == "alone"
    assert "--first 200" in found["digits/both/l0"]["command"]


def test_limit_chooses_radii_around_the_first_conflict(tmp_path):
    for norm in ("linf", "l2", "l0"):
        limit(norm=norm, first=150, seconds=1, out=tmp_path / "o.json")
        found = json.loads((tmp_path / "o.json").read_text())[f"digits/train/{norm}"]
        first = found["closest_pair"]["distance"] / 2
        for point in found["curve"]:
            assert (point["conflicts"] > 0) == (point["eps"] >= first)


def test_limit_per_255_reads_radii_as_fractions(tmp_path):
    limit(eps=[51], per=255, split="test", out=tmp_path / "o.json")
    (point,) = json.loads((tmp_path / "o.json").read_text())["digits/test/linf"]["curve"]
    assert point["eps"] == 51 / 255


def test_limit_draws_the_curve_and_the_pairs(tmp_path):
    limit(eps=[0.1, 0.3, 0.5], split="test", figures=tmp_path)
    for name in ("digits-test-linf-curve.png", "digits-test-linf-pairs.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"eps": [-0.1]}, "eps=-0.1"),
        ({"eps": [0.5], "norm": "l0"}, "eps=0.5"),
        ({"eps": []}, "at least one radius"),
        ({"data": "nothing"}, "'nothing'"),
        ({"first": 1}, "two classes"),
    ],
)
def test_limit_refuses_bad_input_in_one_line(flags, word):
    with pytest.raises(UserError, match=word) as caught:
        limit(**flags)
    assert "\n" not in str(caught.value)


def test_limit_leaves_a_file_that_is_no_json_alone(tmp_path):
    out = tmp_path / "notes.txt"
    out.write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        limit(eps=[0.1], split="test", out=out)
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("topic", "flags", "expected"),
    [
        ("gaussian", {"norm": "linf", "dimension": 4}, {"eps_max": 0.5}),
        ("bernoulli", {"k": 20, "eps": [2]}, {"error": [bernoulli.l0_error(20, 0.3, 2)[1]]}),
        ("limits", {"k": [50], "t": [0.3]}, {"largest_eps": [[15]]}),
        ("hardness", {"vertices": 5, "density": 1.0}, {"accuracy": 0.2}),
        ("hardness", {"vertices": 5, "density": 0.0, "p": "inf"}, {"accuracy": 1.0}),
        ("hardness", {"vertices": 5, "density": 1.0, "p": 0, "domain": "space"}, {"eps": 5}),
    ],
)
def test_theory_topics_write_their_numbers_and_pictures(tmp_path, topic, flags, expected):
    out, figure = tmp_path / "numbers.json", tmp_path / "picture.png"
    assert theory(topic, **flags, out=out, figure=figure) == 0
    found = json.loads(out.read_text())
    for key, value in expected.items():
        assert np.array(found[key]) == pytest.approx(np.array(value))
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("topic", "flags", "word"),
    [
        ("gaussian", {"dimension": 0}, "dimension=0"),
        ("gaussian", {"sigma": -1.0}, "sigma=-1.0"),
        ("gaussian", {"gap": math.nan}, "NaN"),
        ("bernoulli", {"t": 0.6}, "t=0.6"),
        ("bernoulli", {"k": 0}, "k=0"),
        ("limits", {"k": [0]}, "k=0"),
        ("hardness", {"density": 1.5}, "density=1.5"),
        ("hardness", {"vertices": 2}, "2 vertices"),
        ("hardness", {"p": 0.5}, "p=0.5"),
    ],
)
def test_theory_refuses_bad_input_in_one_line(topic, flags, word):
    with pytest.raises(UserError, match=word) as caught:
        theory(topic, **flags)
    assert "\n" not in str(caught.value)


def test_the_line_of_the_approach_figure_is_the_optimum(tmp_path):
    figure = theory_figures.approach([10, 100], {"network": np.array([[0.3], [0.2]])}, 0.15)
    (line,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert set(np.ravel(line.get_ydata())) == {0.15}


def test_the_command_stored_with_a_limit_gives_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = {"split": "test", "norm": "l2", "eps": [100.0], "per": 100.0, "first": 60}
    limit(**asked, name="some digits", out=tmp_path / "o.json")
    (first,) = json.loads((tmp_path / "o.json").read_text()).values()
    words = shlex.split(first["command"])
    assert words[:2] == ["hardball", "limit"]
    with pytest.raises(SystemExit) as ended:
        main([*words[1:], "--out", "again.json"])
    assert ended.value.code == 0
    (again,) = json.loads((tmp_path / "again.json").read_text()).values()
    for key in ("data", "split", "norm", "images", "closest_pair", "curve", "command"):
        assert again[key] == first[key]


def test_a_surface_too_large_to_draw_is_refused(tmp_path, capsys):
    words = ["theory", "bernoulli", "--k", "1001", "--figure", str(tmp_path / "f.png")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "--k 1001 is too large for --figure; give at most 1000" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_column_is_no_mistake():
    assert theory("limits", k=[5], t=[]) == 0
