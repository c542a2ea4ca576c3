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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hardball import storage
from hardball.errors import Damaged, StorageError, UserError, WrongArchitecture


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
    storage.save_state([1, 2], tmp_path / "s")  # type: ignore[arg-type]
    with pytest.raises(Damaged, match="is no resume point, but a list"):
        storage.load_state(tmp_path / "s")


# --- digests


def test_sealed_weights_are_safetensors_for_any_reader(tmp_path: Path) -> None:
    model = net()
    storage.save_weights(model, tmp_path / "w")
    assert same(load_file(tmp_path / "w"), tensors(model))
    assert storage.unbroken((tmp_path / "w").read_bytes())


def test_weights_of_other_programs_have_no_seal_and_load(tmp_path: Path) -> None:
    model, other = net(), net()
    found = tensors(model)
    save_file(found, tmp_path / "w", metadata={"modelspec.hash_sha256": "a" * 64})
    assert storage.unbroken((tmp_path / "w").read_bytes()) is None
    storage.load_weights(other, tmp_path / "w")
    assert same(tensors(other), found)


@given(data=st.data())
def test_one_flipped_bit_in_weights_is_named_or_changes_nothing(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    model, other = net(), net()
    content = bytearray(whole(model, path))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        storage.load_weights(other, path)
    except Damaged as error:
        named = str(path) in str(error)
    else:
        named = False
    assert named or same(tensors(other), tensors(model))


@given(data=st.data())
def test_one_flipped_bit_in_a_resume_point_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.pt"
    storage.save_state({"fingerprint": "x", "model": net().state_dict()}, path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(Damaged, match="is no whole resume point"):
        storage.load_state(path)


def test_a_resume_point_without_a_seal_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "s")
    with pytest.raises(Damaged, match="SHA-256 is not the one recorded"):
        storage.load_state(tmp_path / "s")


def test_a_kill_between_a_file_and_the_digest_beside_it_leaves_both_valid(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    storage.write_beside_digest(path, b"old")
    storage.write_beside_digest(path, b"new")
    path.write_bytes(b"old")  # as after a kill between the two writes
    assert storage.read_beside_digest(path, "metrics") == b"old"
    path.write_bytes(b"odd")
    with pytest.raises(Damaged, match=r"is none of those in .*metrics\.csv\.sha256"):
        storage.read_beside_digest(path, "metrics")
    path.with_name("metrics.csv.sha256").unlink()
    assert storage.read_beside_digest(path, "metrics") == b"odd"


# --- folders that somebody else made


def test_a_write_replaces_a_link_and_leaves_what_it_led_to(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"precious")
    path = tmp_path / "run" / "file"
    path.parent.mkdir()
    for link in (path, path.with_name(f".file.{os.getpid()}.tmp")):
        link.symlink_to(mine)
    storage.write_atomically(path, b"new")
    assert (path.read_bytes(), mine.read_bytes()) == (b"new", b"precious")
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_lock_is_one_process_s_and_changes_no_file(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"content")
    with (
        storage.locked(tmp_path / "lock", "busy here"),
        pytest.raises(UserError, match="busy here"),
        storage.locked(tmp_path / "lock", "busy here"),
    ):
        pass
    with storage.locked(tmp_path / "lock", "busy here"):
        assert (tmp_path / "lock").read_bytes() == b"content"


def test_a_lock_that_is_a_fifo_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with storage.locked(tmp_path / "lock", "busy"):
        pass


def test_leftovers_of_processes_that_have_ended_are_removed(tmp_path: Path) -> None:
    living, ended = tmp_path / f".a.{os.getpid()}.tmp", tmp_path / ".a.4194304.tmp"
    others = tmp_path / ".hidden.tmp", tmp_path / "a.4194304.tmp"
    for path in (living, ended, *others):
        path.write_bytes(b"")
    storage.remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([living, *others])
