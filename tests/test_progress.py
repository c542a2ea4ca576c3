"""What metrics.csv says about convergence, against the weights of the epochs themselves."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import flat
from hardball import Constant, Dataset, Iterative, build, fit
from hardball.runs import read_metrics
from hardball.training.progress import distance, parameters_of


@pytest.fixture
def train(digits: Dataset) -> Dataset:
    return digits.rows(slice(0, 120))


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_distance_is_that_of_the_weights_kept_at_each_epoch(
    average: float, train: Dataset, tmp_path: Path
) -> None:
    model = build("digits_cnn", train.shape, 10, {"width": 3})
    weights = [{k: v.detach().clone() for k, v in model.named_parameters()}]
    settings = flat.settings(steps=1, batch_size=40, keep_every=1, average=average, lr=0.01)
    run = fit(model, train, curriculum=Constant(0.1, 3), settings=settings, out=tmp_path / "r")
    assert run.folder is not None
    weights += [load_file(run.folder.epoch_file(epoch)) for epoch in (1, 2, 3)]
    for row, before, after in zip(run.history, weights[:-1], weights[1:], strict=True):
        moved = torch.cat([(after[name] - before[name]).flatten() for name in before])
        assert row["weight_distance"] == pytest.approx(float(moved.norm()), rel=1e-5)
        assert row["weight_distance"] > 0


def test_the_change_of_the_loss_begins_with_the_second_epoch(
    train: Dataset, tmp_path: Path
) -> None:
    model = build("digits_cnn", train.shape, 10, {"width": 3})
    ramp = Iterative(0.09, increment=0.03, per="epoch")
    settings = flat.settings(steps=1, batch_size=40)
    run = fit(model, train, curriculum=ramp, settings=settings, out=tmp_path / "r")
    first, *later = run.history
    assert "loss_change" not in first
    for row, before in zip(later, run.history, strict=False):
        assert row["loss_change"] == row["adv_loss"] - before["adv_loss"]
    assert run.folder is not None
    assert read_metrics(run.folder) == run.history
    header, line, *_ = run.folder.metrics_file.read_text().splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))["loss_change"] == ""


def test_the_memory_layout_changes_no_bit() -> None:
    torch.manual_seed(1)
    one, other = nn.Conv2d(7, 9, 3), nn.Conv2d(7, 9, 3)
    plain = parameters_of(one)
    laid = {n: v.to(memory_format=torch.channels_last) for n, v in plain.items() if v.dim() == 4}
    assert laid["weight"].stride() != plain["weight"].stride()
    assert distance(other, plain | laid) == distance(other, plain) > 0
    assert distance(one, plain) == 0


def test_it_is_the_euclidean_distance_without_buffers() -> None:
    model = nn.BatchNorm1d(2)
    before = parameters_of(model)
    with torch.no_grad():
        model.weight.add_(torch.tensor([3.0, 0.0]))
        model.bias.add_(torch.tensor([0.0, 4.0]))
    model.running_mean = torch.ones(2)
    assert distance(model, before) == pytest.approx(5)
