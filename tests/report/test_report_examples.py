"""The adversarial examples of a page: what they are, where they come from, when they are made again."""

from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hardball import load_dataset, load_run
from hardball.commands.examples import (
    FILE,
    ExamplesConfig,
    examples_for,
    in_turn,
    round_radii,
)
from hardball.commands.measure import MeasureConfig, measure
from hardball.commands.report import ReportConfig, gathered, report
from hardball.commands.subject import SubjectConfig
from hardball.errors import Damaged, UserError
from hardball.report.examples import Examples
from hardball.report.gallery import SIDE, galleries
from hardball.report.results import RunResults, read_run
from hardball.threats import ThreatModel

RADII = [0.05, 0.1, 0.15, 0.2]
FEW = ExamplesConfig(examples=6, attack="pgd-20")


@pytest.fixture
def found(runs: Path) -> Examples:
    return examples_for(runs / "strong", FEW, RADII)


def test_examples_lie_in_the_ball_and_are_what_the_network_sees(
    runs: Path, found: Examples
) -> None:
    data, run = load_dataset("digits", split="test"), load_run(runs / "strong")
    assert found.eps == (0.0, *RADII)
    for e, row in enumerate(found.index):
        assert int(found.labels[e]) == int(data.labels[row])
        assert torch.equal(found.images[e, 0], data.images[row])
        for r, eps in enumerate(found.eps):
            assert ThreatModel("linf", eps).allows(found.images[e, r][None], data.images[row][None])
    logits = run.model(found.images.flatten(0, 1)).detach()
    shares = logits.softmax(dim=1).view_as(found.probabilities)
    assert torch.allclose(shares, found.probabilities, atol=1e-5)


def test_what_is_broken_stays_broken(found: Examples) -> None:
    wrong = found.predictions != found.labels[:, None]
    assert bool((wrong[:, 1:] >= wrong[:, :-1]).all())
    assert bool(wrong.any()), "the largest ε breaks some"
    assert all(by == "" for by in (row[0] for row in found.by))


def test_a_witness_of_that_eps_comes_first(runs: Path, found: Examples) -> None:
    witnesses = load_file(runs / "strong" / "witnesses.safetensors")
    matched = 0
    for e, row in enumerate(found.index):
        for r, eps in enumerate(found.eps):
            here = (witnesses["index"] == row) & (witnesses["eps"] == eps)
            if eps and bool(here.any()):
                assert torch.equal(found.images[e, r], witnesses["images"][here][0])
                matched += 1
    config = replace(FEW, examples=100)
    many = examples_for(runs / "strong", config, RADII)
    stored = {int(i) for i, eps in zip(witnesses["index"], witnesses["eps"], strict=True) if eps}
    assert matched or stored & {*many.index}


def test_witnesses_of_other_weights_or_images_are_not_used(runs: Path, found: Examples) -> None:
    (runs / "strong" / "witnesses.safetensors").write_bytes(
        (runs / "weak" / "witnesses.safetensors").read_bytes()
    )
    other = examples_for(runs / "strong", FEW, RADII)
    (runs / "strong" / "witnesses.safetensors").unlink()
    without = examples_for(runs / "strong", FEW, RADII)
    assert torch.equal(other.images, without.images)
    assert other.by == without.by


def test_witnesses_of_a_sample_are_found_at_their_images(runs: Path) -> None:
    how = MeasureConfig(eps=RADII, attacks="pgd-20")
    measure(SubjectConfig(runs / "strong", n=200, sample=3), how)
    witnesses = load_file(runs / "strong" / "witnesses.safetensors")
    order = torch.randperm(360, generator=torch.Generator().manual_seed(3))[:200].sort().values
    of_image = order[witnesses["index"]]
    found = examples_for(runs / "strong", replace(FEW, examples=100), RADII)
    matched = 0
    for e, row in enumerate(found.index):
        for r, eps in enumerate(found.eps):
            here = (of_image == row) & (witnesses["eps"] == eps)
            if eps and bool(here.any()):
                assert torch.equal(found.images[e, r], witnesses["images"][here][0])
                matched += 1
    shown = torch.isin(of_image, torch.tensor(found.index)) & (witnesses["eps"] > 0)
    assert matched == int(shown.sum()) > 5


def test_examples_are_made_once(runs: Path, found: Examples) -> None:
    file = runs / "strong" / FILE
    made = file.stat().st_mtime_ns
    again = examples_for(runs / "strong", FEW, RADII)
    assert file.stat().st_mtime_ns == made
    assert torch.equal(again.images, found.images)
    for other in (
        replace(FEW, seed=1),
        replace(FEW, attack="fgsm"),
        replace(FEW, examples=5),
    ):
        examples_for(runs / "strong", other, RADII)
        assert file.stat().st_mtime_ns != made
        made = file.stat().st_mtime_ns
    (runs / "strong" / "weights.safetensors").write_bytes(
        (runs / "weak" / "weights.safetensors").read_bytes()
    )
    examples_for(runs / "strong", replace(FEW, examples=5), RADII)
    assert file.stat().st_mtime_ns != made


def test_examples_of_one_place_do_not_depend_on_the_others(runs: Path, found: Examples) -> None:
    """Each is seeded by its place: fewer images or radii change nothing."""
    (runs / "strong" / "witnesses.safetensors").unlink()
    many = examples_for(runs / "strong", FEW, RADII[:1])
    few = examples_for(runs / "strong", replace(FEW, examples=2), RADII[:1])
    assert torch.equal(few.images, many.images[:2])


@pytest.mark.parametrize("at", [300, -50])
def test_changed_examples_are_refused(runs: Path, found: Examples, at: int) -> None:
    file = runs / "strong" / FILE
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(Damaged, match=r"remove it, and it is made again"):
        examples_for(runs / "strong", FEW, RADII)


def test_images_are_taken_from_each_class_in_turn() -> None:
    labels = torch.tensor([2, 2, 0, 1, 0, 2])
    assert in_turn(labels, 5).tolist() == [2, 3, 0, 4, 1]
    assert in_turn(labels, 50).tolist() == [2, 3, 0, 4, 1, 5]


@pytest.mark.parametrize(
    ("known", "norm", "radii"),
    [
        ([0.4], "linf", [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]),
        ([0.3, 0.3, 0.12], "linf", [0.05, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3]),
        ([8 / 255], "linf", [0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 8 / 255]),
        ([0.0, 2.0], "l2", [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0]),
        ([6.0], "l0", [1, 2, 3, 4, 5, 6]),
        ([1.0], "unbounded", [1.0]),
    ],
)
def test_radii_are_those_known_and_round_numbers(
    known: list[float], norm: str, radii: list[float]
) -> None:
    assert round_radii(known, norm) == pytest.approx(radii)


def test_without_a_known_eps_one_must_be_given() -> None:
    with pytest.raises(UserError, match=r"no ε is known.*`eps`"):
        round_radii([0.0], "linf")


def test_the_page_says_why_there_are_none(runs: Path) -> None:
    """Another's code is not run unasked, and the rest of the page is made all the same."""
    config = (runs / "bare" / "config.yaml").read_text().split("\n", 1)[1]
    (runs / "bare" / "config.yaml").write_text(config.replace("name: digits_cnn", "name: evil:Net"))
    (runs / "weak" / "weights.safetensors").unlink()
    made = report(
        ReportConfig([runs / "bare", runs / "weak", runs / "strong"], examples=2, eps=0.1)
    )
    section = next(one for one in made.sections if one.title == "Adversarial examples")
    reasons = [one.what for one in section.missing]
    assert "'evil:Net' is code outside hardball" in reasons[0]
    assert "--trust-model-code true" in reasons[0]
    assert "cannot read weights" in reasons[1]
    assert [block.kind for block in section.blocks] == ["gallery", "missing", "missing"]
    assert "evil:Net" in made.place.read_text()


def test_no_examples_where_none_are_asked_for(runs: Path) -> None:
    (run,) = gathered([runs / "weak"], ExamplesConfig(examples=0))
    assert run.examples is None
    assert not (runs / "weak" / FILE).exists()


def test_runs_on_the_same_images_share_a_viewer(runs: Path) -> None:
    config = replace(FEW, eps=[0.1])
    both = gathered([runs / "weak", runs / "strong"], config)
    (one,) = galleries(both)
    assert [network["name"] for network in one.networks] == ["weak", "strong"]
    images = torch.zeros_like(both[1].examples.images)  # type: ignore[union-attr]
    apart = replace(both[1], examples=replace(both[1].examples, images=images))  # type: ignore[type-var]
    assert len(galleries([both[0], apart])) == 2


def pixels(data: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(b64decode(data))))


def with_examples(run: RunResults, images: torch.Tensor, norm: str = "linf") -> RunResults:
    """A run whose two classes are equally likely on these images [E, R, C, H, W]."""
    e, r = images.shape[:2]
    examples = Examples(
        asked={"eps": [0.1 * (i + 1) for i in range(r - 1)], "norm": norm},
        index=tuple(range(e)),
        labels=torch.zeros(e, dtype=torch.int64),
        images=images,
        probabilities=torch.full((e, r, 30), 1 / 30),
        by=(("", *["pgd"] * (r - 1)),) * e,
    )
    return replace(run, examples=examples)


def test_pictures_are_the_images_and_the_perturbations(runs: Path) -> None:
    images = torch.full((1, 2, 1, 8, 8), 0.5)
    images[0, 1, 0, 0, 0], images[0, 1, 0, 0, 1] = 0.6, 0.4
    run = with_examples(read_run(runs / "weak", "weak"), images)
    cell = galleries([run])[0].networks[0]["rows"][0]["cells"][1]
    assert pixels(cell["seen"])[0, :3].tolist() == [153, 102, 128]
    change = pixels(cell["change"])
    assert change[0, 0].tolist() == [0xD5, 0x5E, 0x00], "raised by ε: orange"
    assert change[0, 1].tolist() == [0x00, 0x72, 0xB2], "lowered by ε: blue"
    assert change[3, 3].tolist() == [255, 255, 255], "unchanged: white"
    said = galleries([run])[0].data["networks"][0]["answers"][0][1]
    assert said["scale"] == "blue −0.1 … orange +0.1"
    assert [name for name, *_ in said["sure"]] == [0, 1, 2, 3, 4] or len(said["sure"]) <= 6


def test_colour_images_are_shown_around_grey_and_large_ones_smaller(runs: Path) -> None:
    images = torch.full((1, 2, 3, 200, 100), 0.5)
    images[0, 1, 0] = 0.7
    run = with_examples(read_run(runs / "weak", "weak"), images, norm="l2")
    gallery = galleries([run])[0]
    cell = gallery.networks[0]["rows"][0]["cells"][1]
    assert pixels(cell["seen"]).shape == (SIDE, SIDE // 2, 3)
    assert pixels(cell["change"])[0, 0].tolist() == [255, 128, 128]
    assert gallery.data["networks"][0]["answers"][0][1]["scale"] == "grey is 0, full scale ±0.2"


def test_images_for_which_there_is_no_room_are_left_out(runs: Path) -> None:
    torch.manual_seed(0)
    images = torch.rand(100, 8, 3, 64, 64)
    run = with_examples(read_run(runs / "weak", "weak"), images)
    gallery = galleries([run])[0]
    assert 0 < gallery.left_out < 100
    assert len(gallery.networks[0]["rows"]) == 100 - gallery.left_out == len(gallery.data["images"])
