"""Files that survive, and refusals of files that are not what they should be."""

import errno
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hardball import storage
from hardball.errors import Damaged, StorageError, WrongArchitecture


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
        with pytest.raises(StorageError) as caught:
            storage.write_atomically(path, b"newer")
    for part in (str(path), "5 bytes", "No space left", "free some space", "`resume`"):
        assert part in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(StorageError, match="choose a place that can be written to"):
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


def as_archive(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.safetensors", whole(net(), path.with_name("inside")))
    return path.read_bytes()


def as_safetensors(header_length: int) -> bytes:
    """One tensor, ones(2), behind a header of that many bytes (padded with spaces, as allowed)."""
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    assert len(header) <= header_length
    tensor = struct.pack("<2f", 1, 1)
    return struct.pack("<Q", header_length) + header.ljust(header_length) + tensor


class Pair(nn.Module):
    """The network that `as_safetensors` writes the weights of."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize("high", [0, 1, 2, 0x4B, 0x100])
def test_a_safetensors_file_may_begin_with_any_byte(high: int, tmp_path: Path) -> None:
    """The first bytes are the header's length: 0x80 begins a pickle too, 0x504b a zip archive."""
    path = tmp_path / "w.safetensors"
    lengths = [n for n in range(256 * high, 256 * high + 256) if n >= 64]
    assert high == 0 or {n % 256 for n in lengths} == set(range(256))
    for length in lengths:
        path.write_bytes(as_safetensors(length))
        model = Pair()
        storage.load_weights(model, path)
        assert model.a.tolist() == [1, 1]


def test_many_names_of_any_length_survive_a_round_trip(tmp_path: Path) -> None:
    """Headers as safetensors itself writes them, over a whole period of their first byte."""
    starts = set()
    for length in range(1, 260):
        model = nn.ParameterDict({"n" * length: nn.Parameter(torch.ones(1))})
        path = tmp_path / "w"
        storage.save_weights(model, path)
        starts.add(path.read_bytes()[0])
        storage.load_weights(model, path)
    assert 0x80 in starts


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
    "archive": (as_archive, "is a zip archive; allowed is safetensors"),
    "cut torch pickle": (lambda p: as_pickle(p)[:-5], "is a pickle, which can run code"),
    "cut archive": (lambda p: as_archive(p)[:-5], "is a zip archive"),
    "cut behind the first byte of a pickle": (
        lambda _: as_safetensors(0x80)[:70],
        "no whole safetensors file",
    ),
    "cut behind the first bytes of an archive": (
        lambda _: as_safetensors(0x4B50)[:70],
        "no whole safetensors file",
    ),
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
    kind = WrongArchitecture if "another" in name or "many" in name else Damaged
    with pytest.raises(kind) as caught:
        storage.load_weights(model, path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(tensors(model), before)


@pytest.mark.parametrize("where", ["missing", "."])
def test_missing_weights_are_refused(where: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot read weights .* check the path"):
        storage.load_weights(net(), tmp_path / where)


@given(data=st.data())
def test_weights_cut_anywhere_are_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    content = whole(net(), path)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(Damaged, match="no whole safetensors file"):
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
    with pytest.raises(Damaged, match="is no whole resume point"):
        storage.load_state(path)


def test_something_else_is_no_resume_point(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "s")
    with pytest.raises(Damaged, match="is no resume point, but a list"):
        storage.load_state(tmp_path / "s")
