"""Images in a folder for each class: read at their depth, or refused by name."""

import struct
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hardball import UserError, load_dataset
from hardball.cli.main import main


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes, one grey 4×6 image of each in both parts, the class in the top left pixel."""
    for part in ("train", "test"):
        for label, name in enumerate(("ant", "bee")):
            write(tmp_path / part / name / "0.png", np.full((4, 6), 51 * label, np.uint8))
    return tmp_path


def test_grey_images_by_class(folder):
    write(folder / "train" / "bee" / "deeper" / "1.png", np.full((4, 6), 255, np.uint8))
    (folder / "train" / "bee" / "notes.txt").write_text("no image")
    train, test = (load_dataset("folder", folder, split) for split in ("train", "test"))
    assert train.images.shape == (3, 1, 4, 6)
    assert train.labels.tolist() == [0, 1, 1]
    torch.testing.assert_close(train.images[:, 0, 0, 0], torch.tensor([0.0, 0.2, 1.0]))
    assert (len(test), test.classes, test.class_names) == (2, 2, ("ant", "bee"))
    assert train.rows(slice(0, 1)).class_names == ("ant", "bee")


def test_the_limit_names_the_classes(folder, capsys):
    """The images differ by 51 of 255: any ε from 0.1 on forces an error."""
    words = ["limit", "--data", "folder", "--data-root", str(folder), "--eps", "[0.05, 0.15]"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "images 0 and 1 of classes 0 (ant) and 1 (bee) are closest, 0.2 apart" in said


def test_a_name_for_each_class(folder):
    with pytest.raises(UserError, match="1 names for 2 classes"):
        replace(load_dataset("folder", folder), class_names=("ant",))


def test_a_class_missing_from_the_test_part_keeps_the_numbers(folder):
    (folder / "test" / "ant" / "0.png").unlink()
    (folder / "test" / "ant").rmdir()
    assert load_dataset("folder", folder, "test").labels.tolist() == [1]


def test_coloured_images_keep_their_channels(tmp_path):
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 1] = 255, 51, 0
    for label in ("ant", "bee"):
        write(tmp_path / "train" / label / "0.png", pixels)
    images = load_dataset("folder", tmp_path).images
    assert images.shape == (2, 3, 2, 3)
    torch.testing.assert_close(images[0, :, 0, 1], torch.tensor([1.0, 0.2, 0.0]))
    assert images[0].sum() == images[0, :, 0, 1].sum()


def png(width, height, depth, colour, rows):
    """A PNG of any depth, which Pillow cannot write."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


DEEP = np.array([[0, 257 * 51], [257 * 102, 65535]], np.uint16)
BIG = DEEP.astype(">u2").tobytes()
GREY_16 = {
    "0.png": lambda path: write(path, DEEP),
    "0.tiff": lambda path: write(path, DEEP),
    "0.pgm": lambda path: path.write_bytes(b"P5 2 2 65535\n" + BIG),
}


@pytest.mark.parametrize("name", GREY_16)
def test_sixteen_bit_grey_images_keep_their_depth(name, tmp_path):
    for label in ("ant", "bee"):
        (tmp_path / "train" / label).mkdir(parents=True)
        GREY_16[name](tmp_path / "train" / label / name)
    images = load_dataset("folder", tmp_path).images
    assert torch.equal(images[0, 0], torch.from_numpy(DEEP.astype(np.float32) / 65535))


def test_eight_bits_are_divided_by_255_exactly(folder):
    values = np.arange(24, dtype=np.uint8).reshape(4, 6) * 11
    write(folder / "train" / "ant" / "0.png", values)
    images = load_dataset("folder", folder).images
    assert torch.equal(images[0, 0], torch.from_numpy(values).float() / 255)


def image(name, mode, colour, *, frames=1, **options):
    """A file of the class ant, written by Pillow."""
    if frames > 1:
        options |= {"save_all": True, "append_images": [Image.new(mode, (6, 4))] * (frames - 1)}
    return lambda f: Image.new(mode, (6, 4), colour).save(f / "train" / "ant" / name, **options)


def raw(name, content):
    return lambda f: (f / "train" / "ant" / name).write_bytes(content)


LOSSY = {
    "float": (image("1.tiff", "F", 0.5), "1.tiff has pixels of floating point"),
    "32 bits": (image("1.tiff", "I", 70000), "1.tiff has pixels of 32 bits"),
    "colour in 16 bits": (raw("1.png", png(1, 1, 16, 2, b"\0" * 7)), "more than 8 bits a channel"),
    "colour ppm in 16": (raw("1.ppm", b"P6 1 1 65535\n" + b"\1" * 6), "more than 8 bits a channel"),
    "grey and alpha in 16": (raw("1.png", png(1, 1, 16, 4, b"\0" * 5)), "more than 8 bits"),
    "alpha": (image("1.png", "RGBA", (9, 9, 9, 128)), "1.png has transparent pixels"),
    "grey alpha": (image("1.png", "LA", (9, 0)), "1.png has transparent pixels"),
    "one colour": (image("1.png", "P", 0, transparency=0), "1.png has transparent pixels"),
    "frames": (image("1.png", "L", 9, frames=2), "1.png has 2 frames"),
    "pages": (image("1.tiff", "L", 9, frames=2), "1.tiff has 2 frames"),
    "corrupt ppm": (raw("1.ppm", b"P3 2 2 255\n1 2 x 4"), "cannot read the image"),
    "no size": (raw("1.pgm", b"P5 99999999999999999999 2 255\n"), "cannot read the image"),
    "a bomb": (
        raw("1.png", png(20_000, 20_000, 8, 0, b"")),
        "cannot read the image.*decompression",
    ),
    "half a bomb": (raw("1.png", png(12_000, 12_000, 8, 0, b"")), "cannot read the image"),
    "empty": (raw("1.bmp", b""), "cannot read the image"),
}


@pytest.mark.parametrize("name", LOSSY)
def test_images_that_would_lose_something_are_refused_by_name(name, folder):
    spoil, message = LOSSY[name]
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset("folder", folder)
    assert "\n" not in str(caught.value)
    assert str(folder / "train" / "ant") in str(caught.value)


def test_opaque_images_with_an_alpha_channel_are_read(folder):
    for part in ("ant", "bee"):
        Image.new("LA", (6, 4), (51, 255)).save(folder / "train" / part / "0.png")
    images = load_dataset("folder", folder).images
    assert torch.equal(images, torch.full((2, 1, 4, 6), 0.2))


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_image_file_is_read_or_refused(folder, data):
    kind = data.draw(st.sampled_from(["png", "tiff", "ppm", "bmp", "jpeg", "webp"]))
    path = folder / "train" / "ant" / f"1.{kind}"
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).convert("RGB").save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        with warnings.catch_warnings(action="ignore"):
            load_dataset("folder", folder)
    except UserError as error:
        refused = str(error)
    else:
        refused = "0.png"
    path.unlink()
    assert "0.png" in refused or path.name in refused


SPOILED = {
    "another size": (
        lambda f: write(f / "train" / "bee" / "1.png", np.zeros((5, 6), np.uint8)),
        "train",
        r"bee/1.png is \(5, 6, 1\) but .*ant/0.png is \(4, 6, 1\).*one size",
    ),
    "another colour mode": (
        lambda f: write(f / "train" / "bee" / "1.png", np.zeros((4, 6, 3), np.uint8)),
        "train",
        r"\(4, 6, 3\) but .*\(4, 6, 1\).*colour",
    ),
    "an empty class": (
        lambda f: (f / "train" / "cow").mkdir(),
        "train",
        "no images in the class folder .*train/cow; add some, or remove the folder",
    ),
    "one class": (
        lambda f: (f / "train" / "bee").rename(f / "bee"),
        "train",
        "train has 1 class folders; a classifier needs two",
    ),
    "a stray class": (
        lambda f: write(f / "test" / "cow" / "0.png", np.zeros((4, 6), np.uint8)),
        "test",
        r"test has classes \['cow'\] that .*train lacks",
    ),
    "no image": (
        lambda f: [p.unlink() for p in (f / "test").rglob("*.png")],
        "test",
        r"no images in .*test.*\.png",
    ),
    "no test part": (
        lambda f: (f / "test").rename(f / "tset"),
        "test",
        r"no folder .*test;.*`data_root` with train/CLASS/ and test/CLASS/",
    ),
    "text as image": (
        lambda f: (f / "train" / "ant" / "0.png").write_text("<html>"),
        "train",
        r"cannot read the image .*ant/0.png.*replace or remove",
    ),
    "half an image": (
        lambda f: (f / "train" / "ant" / "0.png").write_bytes(
            (f / "train" / "ant" / "0.png").read_bytes()[:45]
        ),
        "train",
        r"cannot read the image .*ant/0.png.*replace or remove",
    ),
}


@pytest.mark.parametrize(("spoil", "split", "message"), SPOILED.values(), ids=SPOILED)
def test_folders_that_are_no_data_are_refused(folder, spoil, split, message):
    spoil(folder)
    with pytest.raises(UserError, match=message):
        load_dataset("folder", folder, split)


def test_a_class_without_test_images_is_mentioned(folder):
    (folder / "test" / "bee" / "0.png").unlink()
    with pytest.warns(UserWarning, match=r"no images of the classes \['bee'\] in .*test"):
        assert load_dataset("folder", folder, "test").labels.tolist() == [0]


def test_the_name_of_data_loads_it_again(folder):
    data = load_dataset("folder", folder)
    assert data.name == "folder"
    assert load_dataset(data.name, folder).sha256 == data.sha256
