"""A package outside hardball adds one of everything, as CONTRIBUTING.md says."""

import json
import math
import re
import shlex
import signal
from pathlib import Path

import pytest
import torch
from hardball_outside.attack import MomentumPGD
from hardball_outside.certificate import Intervals
from hardball_outside.curriculum import Cosine
from hardball_outside.data import parity
from hardball_outside.network import Dense
from hardball_outside.objective import Margin
from torch import nn

import hardball as hb
from commands import Signal, run
from hardball.errors import CannotRun, Unsupported

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
FILES = sorted((Path(__file__).parent / "outside" / "hardball_outside").glob("[a-z]*.py"))

UPDATE = "hardball.training.update:Update.apply"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_contributing_shows_the_files_as_they_are(file: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert file.read_text() in blocks
    assert len(blocks) == len(FILES)


def words_of_the_page() -> list[list[str]]:
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = [shlex.split(line) for line in block.splitlines()]
    assert {line[0] for line in lines} == {"hardball"}
    return [line[1:] for line in lines]


def untrusting(words: list[str]) -> list[str]:
    at = words.index("--trust-model-code")
    return words[:at] + words[at + 2 :]


def test_the_commands_of_contributing(tmp_path: Path) -> None:
    train, resume, evaluate, verify = words_of_the_page()
    assert train[-2:] == ["--out", "runs/mine"]
    assert run([*train[:-1], "runs/whole"], tmp_path)[0] == 0

    # a run of somebody else's code does nothing before it is trusted; then it ends as if unbroken
    kill = Signal(at=UPDATE, count=50)
    assert run([*train, "--save-minutes", 0], tmp_path, planned=kill)[0] == -signal.SIGKILL
    code, _, error = run(untrusting(resume), tmp_path)
    assert code == 2
    assert "--trust-model-code" in error
    code, _, error = run(resume, tmp_path)
    assert code == 0, error
    mine, whole = (tmp_path / "runs" / name / "weights.safetensors" for name in ("mine", "whole"))
    assert mine.read_bytes() == whole.read_bytes()

    assert run(untrusting(evaluate), tmp_path)[0] == 2
    code, out, error = run(evaluate, tmp_path)
    assert code == 0, error
    found = json.loads((tmp_path / "runs" / "mine" / "evaluation.json").read_text())
    assert set(found["attacks"]) == {"pgd-20", "hardball_outside.attack:MomentumPGD"}
    assert "hardball_outside.certificate:Intervals" in json.dumps(found)
    assert "certified" in out

    assert run(untrusting(verify), tmp_path)[0] == 2
    code, _, error = run(verify, tmp_path)
    assert code == 0, error


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A network that is partly robust, and partly provably so."""
    torch.manual_seed(0)
    network = Dense()
    data, eps = parity(Path(), True), hb.LInf(0.05)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        for rows in torch.randperm(len(data), generator=generator).split(64):
            images, labels = data.images[rows], data.labels[rows]
            moved = hb.PGD(steps=3)(network, images, labels, eps, generator=generator).examples
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(moved), labels).backward()
            optimizer.step()
    return network.eval()


@pytest.mark.parametrize("eps", [0.0, 0.02, 0.05])
def test_no_attack_breaks_what_the_certificate_proves(trained: nn.Module, eps: float) -> None:
    data, threat = parity(Path(), False), hb.LInf(eps)
    proved = Intervals()(trained, data.images, data.labels, threat)
    attacks = (hb.PGD(steps=50, loss="margin"), MomentumPGD(), hb.fgsm())
    broken = torch.zeros(len(data), dtype=torch.bool)
    for attack in attacks:
        generator = torch.Generator().manual_seed(0)
        broken |= attack(trained, data.images, data.labels, threat, generator=generator).fooled
    assert not (proved & broken).any()
    assert proved.float().mean() > 0.4
    if not eps:
        # with nothing moved, only rounding stands between the two
        assert torch.equal(proved, ~broken)


def test_the_certificate_is_exact_where_there_is_one_layer() -> None:
    """On z = ±w·x the smallest margin is w·x − ε‖w‖₁."""
    weight = torch.tensor([[-0.5, 0.25], [0.5, -0.25]])
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.zero_()
    network = nn.Sequential(nn.Flatten(), linear)
    image = torch.tensor([[0.5, 0.4]])  # margin 0.3, ‖w₁ − w₀‖₁ = 1.5
    for eps, holds in ((0.199, True), (0.201, False)):
        assert Intervals()(network, image, torch.tensor([1]), hb.LInf(eps)).item() is holds


def test_the_certificate_refuses_what_it_does_not_know(trained: nn.Module) -> None:
    image, label = torch.rand(1, 1, 8, 8), torch.tensor([0])
    with pytest.raises(Unsupported, match="l2"):
        Intervals()(trained, image, label, hb.L2(0.1))
    with pytest.raises(CannotRun, match="Sigmoid"):
        Intervals()(nn.Sequential(nn.Sigmoid(), nn.Flatten()), image, label, hb.LInf(0.1))

    class Scaled(Dense):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return -images.flatten(1)[:, :2]

    with pytest.raises(CannotRun, match="Scaled"):
        Intervals()(Scaled(), image, label, hb.LInf(0.1))


def test_the_attack_is_as_strong_as_pgd(trained: nn.Module) -> None:
    data = parity(Path(), False)
    for threat in (hb.LInf(0.1), hb.L2(0.6)):
        momentum, plain = (
            attack(trained, data.images, data.labels, threat, generator=torch.Generator())
            for attack in (MomentumPGD(), hb.PGD(steps=20))
        )
        assert threat.allows(momentum.examples, data.images).all()
        assert abs(momentum.fooled.float().mean() - plain.fooled.float().mean()) < 0.03
    with pytest.raises(Unsupported, match="l0"):
        MomentumPGD()(trained, data.images, data.labels, hb.L0(3))


def test_the_objective_is_its_formula() -> None:
    logits, labels = torch.tensor([[3.0, 0.0, 2.0], [0.0, 5.0, 1.0]]), torch.tensor([0, 1])
    # leads of 1 and 4 where 2 is asked for
    expected = nn.functional.cross_entropy(logits, labels, reduction="none")
    expected = expected + 3 * torch.tensor([1.0, 0.0])
    torch.testing.assert_close(Margin(beta=3.0).loss(logits, labels, None), expected)


def test_the_curriculum_is_half_a_wave() -> None:
    curriculum = Cosine(0.4, ramp=10, hold=2)
    assert curriculum.total_epochs == 12
    assert curriculum.eps_at(9) == curriculum.eps_at(11, 0.3) == 0.4
    assert curriculum.eps_at(4) == pytest.approx(0.2)
    assert curriculum.eps_at(0, 0.5) == pytest.approx(0.2 * (1 - math.cos(math.pi / 20)))
    assert curriculum.lasting(20).hold == 10
    with pytest.raises(hb.UserError, match="epochs=9"):
        curriculum.lasting(9)
