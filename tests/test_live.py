"""What TensorBoard shows of the attacks: pictures, and how much of the ball they use."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import flat
from hardball import L0, L2, PGD, Constant, Dataset, Iterative, LInf, fit, load_dataset
from hardball.threats import ThreatModel
from hardball.training.live import Attacked

QUICK = flat.settings(steps=2, batch_size=64, validation=1000)


@pytest.fixture(scope="module")
def train() -> Dataset:
    return load_dataset("digits", split="train")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def events_of(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0})
    found.Reload()
    return found


def test_each_epoch_has_curves_examples_and_a_histogram(train: Dataset, tmp_path: Path) -> None:
    ramp = Iterative(0.2, increment=0.1, hold=1)
    fit(network(), train, curriculum=ramp, settings=QUICK, out=tmp_path)
    events = events_of(tmp_path)
    assert {"eps", "adv_loss", "val_adv_accuracy"} <= set(events.Tags()["scalars"])
    assert [event.value for event in events.Scalars("eps")] == pytest.approx([0.1, 0.2, 0.2])
    pictures = events.Images("adversarial examples")
    assert [event.step for event in pictures] == [1, 2, 3]
    pixels = np.asarray(Image.open(io.BytesIO(pictures[-1].encoded_image_string)).convert("L"))
    assert pixels.shape == (3 * 8, 8 * 8)
    # from above: the image, the perturbation around grey, and their sum, which lies in the ball
    clean, added, moved = (pixels[8 * k : 8 * k + 8].astype(float) / 255 for k in range(3))
    assert np.abs(moved - clean).max() == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(moved - clean, (added - 0.5) * 2 * 0.2, atol=0.01)
    histograms = events.Histograms("share of the ball used by each pixel")
    assert [event.step for event in histograms] == [1, 2, 3]
    for event in histograms:
        values = event.histogram_value
        assert values.num == 64 * 500  # the last batch of the 1000
        assert 0 <= values.min <= values.max <= 1.001


def test_of_an_l2_attack_each_example_is_one_value(train: Dataset, tmp_path: Path) -> None:
    settings = flat.settings(QUICK, norm="l2")
    fit(network(), train, curriculum=Constant(1.0, 1), settings=settings, out=tmp_path)
    (event,) = events_of(tmp_path).Histograms("share of the ball used by each example")
    assert event.histogram_value.num == 500
    assert event.histogram_value.max <= 1.001


def test_without_an_attack_there_is_nothing_to_show(train: Dataset, tmp_path: Path) -> None:
    fit(network(), train, curriculum=Constant(0.0, 1), settings=QUICK, out=tmp_path)
    tags = events_of(tmp_path).Tags()
    assert tags["scalars"]
    assert not tags["images"]
    assert not tags["histograms"]


def test_it_takes_no_further_pass_of_the_network(train: Dataset, tmp_path: Path) -> None:
    """As many with the events as without a folder, which has none; and the same weights."""

    found = []
    for out in (None, tmp_path):
        model, passes = network(), [0]

        def count(*_: object, passes: list[int] = passes) -> None:
            passes[0] += 1

        model.register_forward_hook(count)
        fit(model, train, curriculum=Constant(0.1, 2), settings=QUICK, out=out)
        found.append((passes[0], model.get_parameter("1.weight").detach().clone()))
    assert found[0][0] == found[1][0] > 0
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(("threat", "values"), [(LInf(0.2), 4 * 16), (L2(0.5), 4), (L0(3.5), 4)])
def test_the_whole_ball_is_a_share_of_one(threat: ThreatModel, values: int) -> None:
    images = torch.full((4, 1, 4, 4), 0.5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    labels = torch.zeros(4).long()
    examples = PGD(steps=3, step_size=10.0, random_start=False).perturb(
        model, images, labels, threat
    )
    used = Attacked(images=images, examples=examples, threat=threat).used()
    torch.testing.assert_close(used, torch.ones(values))
    assert Attacked(images=images, examples=images, threat=threat).used().max() == 0


@pytest.mark.parametrize("shape", [(16,), (2, 4, 4)])
def test_images_that_cannot_be_drawn_have_no_picture(shape: tuple[int, ...]) -> None:
    images = torch.rand(3, *shape)
    attacked = Attacked(images=images, examples=images, threat=LInf(0.1))
    assert attacked.picture() is None
    assert len(attacked.used()) == images.numel()


def test_colour(tmp_path: Path) -> None:
    images = torch.rand(10, 3, 5, 6)
    picture = Attacked(images=images, examples=1 - images, threat=LInf(1.0)).picture()
    assert picture is not None
    assert picture.shape == (3, 15, 48)
    assert torch.equal(picture[:, :5, :6], images[0])
