"""Data sets, the validation split, augmentation, and the refusal of what is no data."""

import math
import re
import sys
import urllib.error

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from hardball import Dataset, UserError, load_dataset
from hardball.data import AUGMENTATIONS, DATASETS, augment, distort, split_validation
from hardball.errors import Untrusted
from hardball.training import Settings

DOWNLOADED = [name for name in DATASETS if not name.startswith(("digits", "folder", "cifar10-"))]


def numbered(count):
    """A data set whose images carry their index."""
    images = torch.arange(count).float().div(1000).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Dataset(name="numbered", images=images, labels=torch.arange(count) % 3, classes=3)


# ---------------------------------------------------------------- the parts


@given(count=st.integers(2, 40), seed=st.integers(0, 2**63 - 1), data=st.data())
def test_validation_split_is_disjoint_complete_and_deterministic(count, seed, data):
    held = data.draw(st.integers(1, count - 1))
    whole = numbered(count)
    train, validation = split_validation(whole, held, seed)
    parts = [part.images[:, 0, 0, 0].mul(1000).round().long() for part in (train, validation)]
    assert len(validation) == held
    assert torch.cat(parts).sort().values.tolist() == list(range(count))
    for part, index in zip((train, validation), parts, strict=True):
        assert torch.equal(part.labels, whole.labels[index])
        assert index.tolist() == sorted(index.tolist())
    again = split_validation(whole, held, seed)
    assert torch.equal(again[1].images, validation.images)


def test_validation_split_follows_the_seed():
    chosen = {
        tuple(split_validation(numbered(40), 5, s)[1].images.sum((1, 2, 3)).tolist())
        for s in range(5)
    }
    assert len(chosen) == 5


@pytest.mark.parametrize("count", [0, -1, 10, 11])
def test_a_validation_part_that_leaves_nothing_is_refused(count):
    with pytest.raises(UserError, match=rf"`validation={count}` of 10 .*allowed is 1 … 9"):
        split_validation(numbered(10), count, 0)


def test_digits_are_those_of_scikit_learn():
    known = load_digits()
    for part, rows in (("train", slice(0, -360)), ("test", slice(-360, None))):
        found = load_dataset("digits", split=part)
        assert torch.equal(found.images[:, 0], torch.tensor(known.images[rows] / 16).float())
        assert found.labels.tolist() == known.target[rows].tolist()
    train, test = load_dataset("digits"), load_dataset("digits", split="test")
    assert (len(train), len(test), train.shape, train.classes) == (1437, 360, (1, 8, 8), 10)
    assert set((train.images * 16).unique().tolist()) == set(range(17))
    assert sorted(test.labels.unique().tolist()) == list(range(10))


def test_mnist_is_mnist(mnist_root):
    train, test = (load_dataset("mnist", mnist_root, split) for split in ("train", "test"))
    assert (len(train), len(test), train.shape, train.classes) == (60000, 10000, (1, 28, 28), 10)
    assert abs(float(train.images.mean()) - 0.1307) < 1e-4
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


# ---------------------------------------------------------------- augmentation


def crop_and_flip(image, row, column, flip, padding):
    """One image, by indices alone."""
    _, height, width = image.shape
    padded = torch.zeros(len(image), height + 2 * padding, width + 2 * padding)
    padded[:, padding : padding + height, padding : padding + width] = image
    cropped = padded[:, row : row + height, column : column + width]
    return cropped.flip(-1) if flip else cropped


@given(seed=st.integers(0, 2**32), padding=st.integers(0, 3), count=st.integers(0, 5))
def test_augment_equals_a_loop_over_the_images(seed, padding, count):
    images = torch.rand(count, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    before = images.clone()
    found = augment(images, torch.Generator().manual_seed(seed), padding=padding)
    draws = torch.Generator().manual_seed(seed)
    rows, columns, flips = (
        torch.randint(high, (count, 1), generator=draws)[:, 0].tolist()
        for high in (2 * padding + 1, 2 * padding + 1, 2)
    )
    assert found.shape == images.shape
    for i in range(count):
        expected = crop_and_flip(images[i], rows[i], columns[i], flips[i], padding)
        assert torch.equal(found[i], expected)
    assert torch.equal(images, before)


def test_shifts_are_by_one_pixel_at_most_and_all_alike():
    images = torch.rand(1, 1, 4, 5).expand(3000, -1, -1, -1)
    found = AUGMENTATIONS["shifts"](images, torch.Generator().manual_seed(0))
    shifts = torch.stack(
        [
            crop_and_flip(images[0], row, column, flip=False, padding=1)
            for row in range(3)
            for column in range(3)
        ]
    )
    times = (found[:, None] == shifts[None]).flatten(2).all(dim=2).float()
    assert bool((times.sum(dim=1) == 1).all())
    assert ((times.mean(dim=0) - 1 / 9).abs() < 4 * (1 / 9 * 8 / 9 / 3000) ** 0.5).all()


def test_augment_moves_everywhere_alike():
    images = torch.zeros(4000, 1, 3, 3)
    images[:, 0, 1, 1] = 1
    found = augment(images, torch.Generator().manual_seed(0), padding=1)[:, 0].mean(dim=0)
    assert ((found - 1 / 9).abs() < 4 * (1 / 9 * 8 / 9 / 4000) ** 0.5).all()


def test_affine_changes_move_a_dot_as_a_rotation_scaling_and_shift_would():
    """A bright dot's centre of mass lies where the drawn numbers say."""
    images = torch.zeros(50, 1, 28, 28)
    images[:, 0, 6:8, 17:19] = 1
    before = images.clone()
    found = distort(images, torch.Generator().manual_seed(3))
    assert torch.equal(images, before)
    draws = 2 * torch.rand((4, 50), generator=torch.Generator().manual_seed(3)) - 1
    down, right, turn, stretch = draws
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    place = torch.arange(28.0)
    mass = found[:, 0].sum(dim=(1, 2))
    row = (found[:, 0].sum(dim=2) * place).sum(dim=1) / mass
    column = (found[:, 0].sum(dim=1) * place).sum(dim=1) / mass
    # from the centre 13.5, the dot lies at (y, x) = (-7, 4); what is sampled is the inverse map
    angle, factor = -math.radians(12) * turn, 1 + 0.12 * stretch
    y, x = -7 - 2 * down, 4 - 2 * right
    moved_x = factor * (angle.cos() * x - angle.sin() * y)
    moved_y = factor * (angle.sin() * x + angle.cos() * y)
    torch.testing.assert_close(row, 13.5 + moved_y, atol=0.1, rtol=0)
    torch.testing.assert_close(column, 13.5 + moved_x, atol=0.1, rtol=0)


@given(seed=st.integers(0, 2**32), height=st.integers(8, 12), width=st.integers(8, 12))
def test_affine_changes_are_a_function_of_the_seed_and_keep_the_shape(seed, height, width):
    images = torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(seed))
    one, two = (distort(images, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert one.shape == images.shape
    assert torch.equal(one, two)
    assert not torch.equal(one, images)


def test_sharp_changes_leave_as_many_grey_pixels_as_there_were(mnist_root):
    """Those are what an adversary may push to either side of ½; interpolation alone adds to them."""
    images = load_dataset("mnist", mnist_root).images[:500]

    def grey(name):
        changed = AUGMENTATIONS[name](images, torch.Generator().manual_seed(0))
        assert changed.min() >= 0
        assert changed.max() <= 1
        return ((changed > 0.1) & (changed < 0.9)).float().mean() / grey_before

    grey_before = ((images > 0.1) & (images < 0.9)).float().mean()
    assert 0.95 < grey("affine-sharp") < 1.1
    assert grey("affine") > 1.5


def test_augmentations_by_name():
    images = torch.rand(2, 1, 8, 8)
    for asked, name in ((False, "none"), (True, "crops"), ("affine", "affine"), ("none", "none")):
        assert Settings(augment=asked).augmentation == name
    assert AUGMENTATIONS["none"](images, torch.Generator()) is images
    with pytest.raises(
        UserError,
        match=r"unknown augmentation .flips.; did you mean .* affine, affine-sharp, crops, "
        "false, none, shifts, true",
    ):
        Settings(augment="flips")


# ---------------------------------------------------------------- names


def test_a_data_set_prints_as_one_line(digits):
    assert (
        repr(digits) == str(digits) == "Dataset(name='digits', n=360, shape=[1, 8, 8], classes=10)"
    )


THEIRS = """
import torch
from hardball import Dataset

asked = []

def load(root, train):
    asked.append((root, train))
    images = torch.full((2 if train else 3, 1, 2, 2), 0.5)
    return Dataset(name="inside", images=images, labels=torch.arange(len(images)), classes=3)

def pair(root, train):
    return torch.zeros(2, 1, 2, 2), torch.zeros(2)

def nullary():
    asked.append("nullary")

number = 7
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A user's own module, importable as `their_data`."""
    (tmp_path / "their_data.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path
    sys.modules.pop("their_data", None)


def test_a_users_own_function_loads_from_the_current_directory(theirs):
    train, test = (load_dataset("their_data:load", theirs, split) for split in ("train", "test"))
    assert (len(train), len(test), train.classes) == (2, 3, 3)
    assert train.name == test.name == "their_data:load", "the name that load_dataset takes"
    assert sys.modules["their_data"].asked == [(theirs, True), (theirs, False)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pair", r"returned a tuple; allowed is a hardball.Dataset: return Dataset\(name="),
        ("nullary", r"no function of two arguments; write def load\(root: Path, train: bool\)"),
        ("number", r"no function of two arguments"),
        ("lead", r"their_data has no 'lead'; check the spelling"),
    ],
)
@pytest.mark.usefixtures("theirs")
def test_a_function_that_loads_no_data_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        load_dataset(f"their_data:{name}")
    assert sys.modules["their_data"].asked == []


@pytest.mark.usefixtures("theirs")
def test_data_that_a_file_names_is_refused_before_it_is_imported():
    with pytest.raises(Untrusted, match=r"'their_data:load'.*nothing was imported"):
        load_dataset("their_data:load", trust=False)
    assert "their_data" not in sys.modules
    assert len(load_dataset("digits", trust=False)) == 1437


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", DOWNLOADED)
def test_missing_data_without_a_network_names_the_argument(name, tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    empty, absent = tmp_path / "empty", tmp_path / "absent"
    empty.mkdir()
    for root in (empty, absent):
        with pytest.raises(
            UserError, match=f"{name} is not in {re.escape(str(root))}.*`data_root`"
        ) as refusal:
            load_dataset(name, root)
        assert "\n" not in str(refusal.value)
    assert empty.exists()
    assert not absent.exists(), "a mistyped path must leave no trace"


@pytest.mark.parametrize("name", ["cifar10-jpeg", "cifar10-small"])
def test_missing_cifar_images_name_the_two_layouts_and_the_argument(name, tmp_path):
    with pytest.raises(UserError, match=r"no CIFAR-10 in .*train/CLASS/.*point `data_root`"):
        load_dataset(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_data_root_that_cannot_hold_data_names_the_argument(name, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=f"{name} is not in .*`data_root`"):
        load_dataset(name, file)


def test_truncated_mnist_is_refused(mnist_root, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (mnist_root / "MNIST" / "raw").glob("*ubyte"):
        (raw / file.name).write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"mnist.*`data_root`"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("mnits", "train", "unknown data set 'mnits'; did you mean 'mnist'? there are: "),
        ("imagenet", "train", f"'imagenet'; there are: {', '.join(sorted(DATASETS))}"),
        ("digits", "validation", "unknown split 'validation'; there are: test, train"),
    ],
)
def test_unknown_names_are_answered_with_what_exists(name, split, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load_dataset(name, split=split)


GREY = torch.full((2, 1, 2, 2), 0.5)
ZERO_ONE = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((GREY * 255).byte(), ZERO_ONE, r"images of mine are uint8.*divide uint8 by 255"),
        (GREY * 255, ZERO_ONE, r"\[127.5, 127.5\]; allowed is \[0, 1\]"),
        (GREY - 1, ZERO_ONE, r"\[-0.5, -0.5\].*Normalize"),
        (GREY * torch.nan, ZERO_ONE, r"NaN.*clean"),
        (GREY, torch.tensor([0, 2]), r"label 2; allowed is 0 … 1"),
        (GREY, torch.tensor([-1, 1]), r"label -1; allowed is 0 … 1"),
        (GREY, ZERO_ONE[:1], r"1 labels for 2 images"),
        (GREY, ZERO_ONE.float(), r"float32.*labels.long\(\)"),
    ],
)
def test_tensors_that_are_no_data_are_refused(images, labels, message):
    with pytest.raises(UserError, match=message):
        Dataset(name="mine", images=images, labels=labels, classes=2)
