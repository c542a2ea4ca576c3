"""Examples made on one model and judged on another."""

import re
from copy import deepcopy

import pytest
import torch
from torch import nn

from hardball import PGD, ThreatModel, UserError
from hardball.attacks import AutoAttackPart, Targeted, Transfer
from hardball.losses import correct, margin
from hardball.seeding import generators
from promises import logits_of

THREAT = ThreatModel("linf", 0.1)


def network(seed, classes=10):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes))


@pytest.fixture
def problem(digits, digits_net):
    """(model, images, labels): 40 digits, a few of which the model gets wrong."""
    some = digits.rows(slice(40, 80))
    return deepcopy(digits_net), some.images, some.labels


@pytest.mark.parametrize("keep", ["last", "worst"])
def test_from_a_model_to_itself_it_is_the_attack(problem, keep):
    model, images, labels = problem
    attack = PGD(steps=10, random_start=False, keep=keep, loss="margin")
    alone = attack(model, images, labels, THREAT)
    found = Transfer(source=model, attack=attack)(model, images, labels, THREAT)
    clean = ~correct(logits_of(model, images), labels)
    assert clean.any()
    # with the last iterate, an attack may leave an example that was fooled on the way
    assert torch.equal(found.fooled, alone.fooled | clean)
    assert alone.fooled.sum() > clean.sum()
    moved = ~clean
    torch.testing.assert_close(found.loss[moved], alone.loss[moved], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_between_linear_models_the_answer_is_known(classes, two_classes):
    """The source moves every pixel by ε along the sign of its own weights; the model then has the
    margin w·(x ± ε·sign(v)) + b."""
    draw = torch.Generator().manual_seed(classes)
    w, v = torch.randn(2, 1, 8, 8, generator=draw)
    v = v + 0.3 * w
    images = 0.3 + 0.4 * torch.rand(30, 1, 8, 8, generator=draw)
    score = (images * w).flatten(1).sum(dim=1)
    bias = float(-score.mean())
    labels = (score + bias > 0).long()
    model, source = two_classes(w, bias), two_classes(v)
    if classes == 3:
        model, source = Third(model), Third(source)
    attack = PGD(steps=4, random_start=False, keep="last")
    found = Transfer(source=source, attack=attack)(model, images, labels, THREAT)
    sign = 2 * labels - 1
    expected = images - 0.1 * sign[:, None, None, None] * v.sign()
    torch.testing.assert_close(found.examples[~same(found, images)], expected[~same(found, images)])
    left = sign * ((expected * w).flatten(1).sum(dim=1) + bias)
    assert torch.equal(found.fooled, left <= 0)
    assert 0 < found.fooled.sum() < len(images)


def same(found, images):
    """Kept as they came, for there the margin fell."""
    return (found.examples == images).flatten(1).all(dim=1)


class Third(nn.Module):
    """A third class that is never near."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        logits = self.model(images)
        return torch.cat([logits, logits.amin(dim=1, keepdim=True).detach() - 5], dim=1)


@pytest.mark.parametrize(
    "attack",
    [PGD(steps=5, keep="last"), Targeted(attack=PGD(steps=3)), AutoAttackPart(iterations=5)],
)
def test_what_it_returns_is_judged_on_the_model(problem, attack):
    model, images, labels = problem
    transfer = Transfer(source=network(1), attack=attack)
    sources = generators(0, range(len(images)))
    found = transfer(model, images, labels, THREAT, generator=sources)
    assert THREAT.allows(found.examples, images).all()
    logits = logits_of(model, found.examples)
    assert torch.equal(found.fooled, ~correct(logits, labels))
    torch.testing.assert_close(found.loss, margin(logits, labels), rtol=1e-4, atol=1e-4)
    assert transfer.cost == attack.cost
    assert transfer.chunk == getattr(attack, "chunk", None)


def test_both_models_are_left_alone_and_the_source_is_in_evaluation_mode():
    modes = []

    class Watched(nn.Module):
        def forward(self, images):
            modes.append(self.training)
            return images

    source = nn.Sequential(
        Watched(), nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 4)
    )
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 4))
    source[1].eval()
    images = torch.rand(20, 1, 8, 8)
    labels = torch.randint(4, (20,))
    before, drawn = deepcopy([source.state_dict(), model.state_dict()]), torch.get_rng_state()
    Transfer(source=source, attack=PGD(steps=2))(model, images, labels, THREAT)
    assert modes
    assert not any(modes)
    assert [module.training for module in source] == [True, False, True, True, True]
    assert model.training
    for module, state in zip((source, model), before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
        assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_the_source_only_sees_what_the_model_gets_right(problem):
    model, images, labels = problem
    seen = []
    net = network(2)

    def source(batch):
        seen.append(len(batch))
        return net(batch)

    clean = ~correct(logits_of(model, images), labels)
    transfer = Transfer(source=source, attack=PGD(steps=2, random_start=False, keep="last"))
    found = transfer(model, images, labels, THREAT)
    assert max(seen) == int((~clean).sum())
    # made on the source: 2 steps and a last pass; judged: one before and one after on the model
    assert found.forwards == len(images) + 4 * int((~clean).sum())
    assert found.backwards == 2 * int((~clean).sum())
    for rows in (clean.nonzero().squeeze(1), torch.arange(0)):
        seen.clear()
        found = transfer(model, images[rows], labels[rows], THREAT)
        assert found.fooled.all()
        assert not seen


def test_a_source_of_other_classes_is_refused(problem):
    model, images, labels = problem
    message = "the source has 7 classes and the model 10; a transfer needs a source trained for the"
    with pytest.raises(UserError, match=re.escape(message)):
        Transfer(source=network(0, classes=7))(model, images, labels, THREAT)
