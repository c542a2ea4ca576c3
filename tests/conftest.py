"""What several tests share.

Every test starts from the same random state, so none depends on those before it. Other seeds show
whether a test passes by luck: HARDBALL_TEST_SEED=1 make test, then 2, and so on.
"""

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from hardball import PGD, Dataset, LInf, build, load_dataset
from hardball.losses import cross_entropy

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
settings.register_profile("steady", deadline=None, max_examples=60, derandomize=True, database=None)
settings.load_profile("steady")
TEST_SEED = int(os.environ.get("HARDBALL_TEST_SEED", "0"))


def _seed_everything() -> None:
    random.seed(TEST_SEED)
    np.random.seed(TEST_SEED)  # noqa: NPY002 - some packages draw from it
    torch.manual_seed(TEST_SEED)


@pytest.fixture(autouse=True)
def _same_random_state() -> None:
    """The global random states as a test, and the fixtures made for it alone, find them."""
    _seed_everything()


def _process_settings() -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "onednn": torch.backends.mkldnn.enabled,
    }


@pytest.fixture(autouse=True)
def _same_process_settings() -> Iterator[None]:
    """No test leaves the process in another state: later ones would compute other bits."""
    before = _process_settings()
    yield
    after = _process_settings()
    torch.set_num_threads(1)  # one test at fault; with more threads all later ones take far longer
    assert after == before


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    """So do the fixtures that several tests share, whichever of them comes first."""
    if fixturedef.scope != "function":
        _seed_everything()


class TwoClasses(nn.Module):
    """A linear classifier whose margin z₁ − z₀ is exactly w·x + b."""

    def __init__(self, weight: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(torch.full((), bias, dtype=weight.dtype))

    def forward(self, images: Tensor) -> Tensor:
        score = images.flatten(1) @ self.weight.flatten() + self.bias
        return torch.stack([-score / 2, score / 2], dim=1)


@pytest.fixture(scope="session")
def two_classes() -> Callable[..., nn.Module]:
    """Maker of linear two-class models: (weight [...], bias) → z₁ − z₀ = w·x + b."""
    return TwoClasses


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The test part of the digits."""
    return load_dataset("digits", split="test")


@pytest.fixture(scope="session")
def _trained_digits_cnn() -> nn.Module:
    train = load_dataset("digits", split="train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build("digits_cnn", train.shape, train.classes, {"width": 8})
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(12):
            for rows in torch.randperm(len(train)).split(64):
                optimiser.zero_grad()
                cross_entropy(model(train.images[rows]), train.labels[rows]).mean().backward()
                optimiser.step()
    optimiser.zero_grad()
    return model.eval()


@pytest.fixture
def digits_net(_trained_digits_cnn: nn.Module) -> nn.Module:
    """A small network that knows the digits (trained once, without adversaries), in eval mode."""
    _trained_digits_cnn.zero_grad()  # another library's attack leaves gradients behind
    return _trained_digits_cnn.eval()


def trained_on_digits(
    model: nn.Module, attack: PGD, eps: float, *, epochs: int, lr: float, batch: int
) -> nn.Module:
    """Adversarially trained, in eval mode: how a small model behaves, not how good it can be."""
    train = load_dataset("digits", split="train")
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(epochs):
        for rows in torch.randperm(len(train)).split(batch):
            images, labels = train.images[rows], train.labels[rows]
            adversarial = attack.perturb(model, images, labels, LInf(eps))
            optimiser.zero_grad()
            cross_entropy(model(adversarial), labels).mean().backward()
            optimiser.step()
    optimiser.zero_grad()
    return model.eval()


@pytest.fixture(scope="session")
def robust_net() -> nn.Module:
    """A small network trained with PGD at ε=0.1 on the digits: healthy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build("digits_cnn", (1, 8, 8), 10, {"width": 8})
        return trained_on_digits(model, PGD(steps=3), 0.1, epochs=8, lr=5e-3, batch=64)


@pytest.fixture(scope="session")
def fgsm_net() -> nn.Module:
    """Trained with FGSM at ε=0.5 on the digits until it overfits catastrophically: right on FGSM's
    images (better than on the digits), wrong on the way there and on PGD's. How much so hangs on
    the processor's rounding, so seeds are tried until enough of the images turn back."""
    attack = PGD(steps=1, step_size=0.5, random_start=False)
    with torch.random.fork_rng(devices=[]):
        for seed in range(12):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
            trained = trained_on_digits(model, attack, 0.5, epochs=40, lr=1e-2, batch=64)
            if _turning_back(trained, attack) > 0.4:
                return trained
    raise AssertionError("no seed overfits catastrophically")


def _turning_back(model: nn.Module, attack: PGD) -> float:
    """Of the test images that are right, the share that is wrong on the way of the step and right at
    its end."""
    test = load_dataset("digits", split="test")
    step = attack.perturb(model, test.images, test.labels, LInf(0.5)) - test.images
    way = torch.stack([test.images + step * k / 8 for k in range(9)])
    with torch.no_grad():
        right = model(way.flatten(0, 1)).argmax(1).view(9, -1) == test.labels
    return (right[0] & right[-1] & ~right.all(0)).sum().item() / right[0].sum().item()


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds MNIST in torchvision's layout."""
    beside_the_repository = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("HARDBALL_DATA", beside_the_repository))
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip("MNIST is not here: point HARDBALL_DATA at the folder that holds it")
    return root
