"""Files that survive, and refusals of files that are not what they should be."""

import errno
import os
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hardball import UserError, storage


def net(*widths: int) -> nn.Module:
    sizes = (4, *widths, 3)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*layers, nn.BatchNorm1d(3))


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# --- writing


@given(old=st.binary(max_size=50), new=st.binary(max_size=50))
def test_what_is_written_is_read(
    old: bytes, new: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "deep" / "er" / "file"
    for content in (old, new):
        storage.write_atomically(path, content)
        assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"])
def test_without_space_the_old_file_stays_whole(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    storage.write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(step, no_space)
        with pytest.raises(UserError) as caught:
            storage.write_atomically(path, b"newer")
    for part in (str(path), "5 bytes", "No space left", "free some space", "--resume"):
        assert part in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(UserError, match="choose a place that can be written to"):
        storage.write_atomically(tmp_path / "file" / "below", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


# --- weights


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_survive_a_round_trip_bit_for_bit(
    layout: torch.memory_format, tmp_path: Path
) -> None:
    model, other = (
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(memory_format=layout)
        for _ in range(2)
    )
    storage.save_weights(model, tmp_path / "w")
    storage.load_weights(other, tmp_path / "w")
    assert same(tensors(model), tensors(other))


def whole(model: nn.Module, path: Path) -> bytes:
    storage.save_weights(model, path)
    return path.read_bytes()


def as_pickle(path: Path) -> bytes:
    torch.save(net().state_dict(), path)
    return path.read_bytes()


DAMAGED: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda _: b"", "no whole safetensors file"),
    "cut in the header": (lambda p: whole(net(), p)[:20], "truncated or of another kind"),
    "cut in the tensors": (lambda p: whole(net(), p)[:-5], "copy it again"),
    "text": (lambda _: b"Not found", "no whole safetensors file"),
    "huge header": (lambda _: b"\xff" * 40, "no whole safetensors file"),
    "web page": (lambda _: b"\n <!DOCTYPE html><html>", "is a web page, not weights"),
    "plain web page": (lambda _: b"<HTML><body>404", "fetch it again"),
    "torch pickle": (as_pickle, "is a pickle, which can run code"),
    "plain pickle": (lambda _: pickle.dumps({"a": 1}), "allowed is safetensors"),
    "another width": (lambda p: whole(net(5), p), "of another architecture: missing"),
    "another shape": (
        lambda p: whole(nn.Sequential(nn.Linear(9, 3), nn.BatchNorm1d(3)), p),
        "0.weight is [3, 9] there and [3, 4] in the model",
    ),
    "many missing names": (lambda p: whole(nn.Linear(4, 3), p), "and 4 more"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_is_no_such_weights_is_refused_and_the_model_unchanged(
    name: str, tmp_path: Path
) -> None:
    make, message = DAMAGED[name]
    path = tmp_path / "w.safetensors"
    path.write_bytes(make(path))
    model = net()
    before = tensors(model)
    with pytest.raises(UserError) as caught:
        storage.load_weights(model, path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(tensors(model), before)


@pytest.mark.parametrize("where", ["missing", "."])
def test_missing_weights_are_refused(where: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read weights .* check the path"):
        storage.load_weights(net(), tmp_path / where)


@given(data=st.data())
def test_weights_cut_anywhere_are_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    content = whole(net(), path)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UserError, match="no whole safetensors file"):
        storage.load_weights(net(), path)


# --- resume points


def test_a_resume_point_survives_a_round_trip(tmp_path: Path) -> None:
    state = {"a": [1, 2.5, None], "b": {"c": "text", "d": torch.arange(3.0)}}
    storage.save_state(state, tmp_path / "s")
    found = storage.load_state(tmp_path / "s")
    assert found["a"] == state["a"]
    assert torch.equal(found["b"]["d"], torch.arange(3.0))


@given(data=st.data())
def test_a_resume_point_cut_anywhere_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.pt"
    storage.save_state({"identity": "x", "model": net().state_dict()}, path)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UserError, match="is no whole resume point"):
        storage.load_state(path)


def test_something_else_is_no_resume_point(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "s")
    with pytest.raises(UserError, match="is no resume point, but a list"):
        storage.load_state(tmp_path / "s")
