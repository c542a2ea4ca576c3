"""Networks as files for other programs: torch.export programs and ONNX."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardball as hb
from commands import TINY, run
from hardball import extras
from hardball.errors import Contradiction, MissingExtra, Unsupported
from hardball.interchange.export import Exported, export


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run behind a front."""
    folder = tmp_path_factory.mktemp("exported")
    flags = ("--front", "rounding", "--front-args", "{steepness: 8}")
    code, _, err = run(
        ("train", "--eps", 0.1, "--epochs", 1, *TINY, *flags, "--out", "run"), folder
    )
    assert (code, err) == (0, "")
    return folder


def normalised() -> nn.Module:
    network = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})
    return nn.Sequential(hb.Normalize([0.3], [0.2]), network)


def by_torch(path: Path) -> Callable[[Tensor], Tensor]:
    module: Callable[[Tensor], Tensor] = torch.export.load(path).module()
    return module


def by_onnxruntime(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


READ: dict[Any, Callable[[Path], Callable[[Tensor], Tensor]]] = {
    "torch-export": by_torch,
    "onnx": by_onnxruntime,
}


@pytest.mark.parametrize("format", READ)
def test_a_file_takes_any_number_of_pixels_in_0_1_and_gives_the_model_s_logits(
    format: Any, digits: hb.Dataset, tmp_path: Path
) -> None:
    model, out = normalised().train(), tmp_path / "network"
    found = export(model, out, images=digits.images[:5], format=format)
    assert model.training, "left in its mode"
    other = READ[format](out)
    model.eval()
    for count in (1, 2, 7):
        images = digits.images[:count]
        with torch.no_grad():
            torch.testing.assert_close(other(images), model(images), rtol=1e-5, atol=1e-5)
    assert found == Exported(
        path=out,
        format=format,
        opset=found.opset,
        sha256=found.sha256,
        shape=(1, 8, 8),
        classes=10,
        n=5,
        compared=True,
        difference=found.difference,
        same_predictions=5,
    )
    assert found.difference is not None
    assert found.difference < 1e-5
    assert (found.opset is None) == (format != "onnx")


def test_one_image_is_enough_and_a_half_precision_model_takes_float32(
    digits: hb.Dataset, tmp_path: Path
) -> None:
    model = normalised().to(torch.bfloat16)
    out = tmp_path / "half.pt2"
    found = export(model, out, images=digits.images[:1], format="torch-export")
    assert found.same_predictions == 1
    assert by_torch(out)(digits.images[:3]).dtype == torch.float32


def test_the_opset_is_that_of_the_file(digits: hb.Dataset, tmp_path: Path) -> None:
    import onnx

    found = export(normalised(), tmp_path / "a.onnx", images=digits.images[:2], format="onnx")
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model)
    assert [one.version for one in model.opset_import if one.domain == ""] == [found.opset]
    batch = [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input]
    assert batch == ["batch"]


def test_without_onnxruntime_it_says_that_nothing_was_compared(
    digits: hb.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = extras.installed
    monkeypatch.setattr(extras, "installed", lambda name: name != "onnxruntime" and there(name))
    found = export(normalised(), tmp_path / "a.onnx", images=digits.images[:2], format="onnx")
    assert (found.compared, found.difference, found.same_predictions) == (False, None, None)
    assert found.sentence.startswith("not compared")
    monkeypatch.setattr(extras, "installed", lambda name: name != "onnxscript" and there(name))
    with pytest.raises(MissingExtra, match=r"pip install 'hardball\[export\]'"):
        export(normalised(), tmp_path / "b.onnx", images=digits.images[:2], format="onnx")


class Depends(nn.Module):
    """The path depends on the images' values."""

    def forward(self, images: Tensor) -> Tensor:
        logits = images.flatten(1)[:, :3]
        return logits if bool(images.sum() > 1) else -logits


class Noisy(nn.Module):
    """Random logits."""

    def forward(self, images: Tensor) -> Tensor:
        logits = images.flatten(1)[:, :3]
        return logits + torch.rand_like(logits)


class OfTwo(nn.Module):
    """Two images at a time."""

    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, -1)[:, :3]


@pytest.mark.parametrize("format", READ)
@pytest.mark.parametrize("model", [Depends(), OfTwo()], ids=["values", "number"])
def test_a_model_that_cannot_be_exported_is_refused_in_one_line_and_leaves_no_file(
    model: nn.Module, format: Any, digits: hb.Dataset, tmp_path: Path
) -> None:
    images = digits.images[:2]
    with pytest.raises(Unsupported, match=rf"^the model cannot be exported as {format}: .+$"):
        export(model, tmp_path / "file", images=images, format=format)
    assert [*tmp_path.iterdir()] == []


def test_a_file_that_is_not_the_model_is_removed(digits: hb.Dataset, tmp_path: Path) -> None:
    with pytest.raises(Contradiction, match="differ from the model's by"):
        export(Noisy(), tmp_path / "file", images=digits.images[:4], format="torch-export")
    assert [*tmp_path.iterdir()] == []


def test_what_is_asked_is_checked_first(digits: hb.Dataset, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    few = digits.images[:2]
    with pytest.raises(hb.UserError, match=r"`out=.*there` exists; name a file that does not"):
        export(normalised(), tmp_path / "there", images=few, format="torch-export")
    assert (tmp_path / "there").read_text() == "mine"
    wrong: Any = "onyx"
    with pytest.raises(hb.UserError, match="did you mean 'onnx'"):
        export(normalised(), tmp_path / "a", images=few, format=wrong)
    for images, said in (
        (few[:0], "B ≥ 1"),
        (few[0], "B ≥ 1"),
        (few * 255, r"allowed is \[0, 1\]"),
    ):
        with pytest.raises(hb.UserError, match=said):
            export(normalised(), tmp_path / "a", images=images, format="torch-export")


# --- the command


def test_the_command_writes_the_network_of_a_run_and_says_how_it_compares(trained: Path) -> None:
    code, out, err = run(("export", "run", "--out", "a.pt2"), trained)
    assert (code, err) == (0, "")
    said = (
        r"a\.pt2 \(torch-export\): loaded again and compared on 64 images: 64 predictions are equal, "
        r"the logits differ by at most \S+\n"
    )
    assert re.fullmatch(said, out)
    images = hb.load_dataset("digits", split="test").images[:9]
    with torch.no_grad():
        own = hb.load_run(trained / "run").model(images)
    torch.testing.assert_close(by_torch(trained / "a.pt2")(images), own, rtol=1e-5, atol=1e-5)
    code, _, err = run(("export", "run", "--out", "a.pt2"), trained)
    assert (code, err) == (
        2,
        "hardball: error: --out a.pt2 exists; name a file that does not\n",
    )


def test_the_command_needs_no_data_for_random_images(trained: Path) -> None:
    asked = ("export", "run", "--format", "onnx", "--out", "b.onnx", "--images", "random")
    code, out, err = run((*asked, "--data-root", "nowhere", "--n", 3, "--json"), trained)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["n"], found["same_predictions"], found["shape"]) == (3, 3, [1, 8, 8])
    assert found["opset"] >= 18


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "no --out; name the file, e.g. --out network.pt2"),
        (("run", "--out", "x", "--n", "0"), "--n 0; allowed is 1 or more"),
        (("none", "--out", "x"), "no run and no weights at none"),
    ],
    ids=["out", "n", "run"],
)
def test_the_command_answers_mistakes_in_one_line(
    words: tuple[str, ...], said: str, trained: Path
) -> None:
    code, out, err = run(("export", *words), trained)
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"hardball: error: {re.escape(said)}[^\n]*\n", err)
    assert not (trained / "x").exists()


def test_random_images_need_a_shape(trained: Path) -> None:
    weights = (trained / "loose.safetensors").absolute()
    weights.write_bytes((trained / "run" / "weights.safetensors").read_bytes())
    flags = ("--images", "random", "--data", "digits", "--model", "digits_cnn", "--out", "x")
    code, _, err = run(("export", weights, *flags), trained)
    assert code == 2
    assert "does not say which images its network takes" in err
