"""Attacks in half precision: what they find is judged without it."""

import pytest
import torch
from torch import nn

import hardball as hb
from hardball.attacks.half import InHalf
from hardball.losses import correct
from trained import Hardball, hardball, runs

__all__ = ["hardball", "runs"]

ATTACKS: dict[str, hb.Attack] = {
    "pgd": hb.PGD(steps=10),
    "targeted": hb.Targeted(attack=hb.PGD(steps=5)),
    "corners": hb.CornerSearch(queries=50),
    "apgd": hb.protocols.ATTACKS["apgd-ce"],
}


class Close(nn.Module):
    """Its first class leads by z·(x₀ − ½) + 2⁻¹², which bfloat16 rounds away at x₀ = ½: a tie there."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.weight[0, 0] = 0.5
            self.layer.bias.copy_(torch.tensor([2**-12, 0.25]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(images.flatten(1))
        return logits


HALVES, FIRST = torch.full((6, 1, 2, 2), 0.5), torch.zeros(6, dtype=torch.int64)


def test_a_find_that_is_rounding_alone_is_none():
    model, threat = Close(), hb.LInf(2**-13)  # half of what it takes
    assert bool(correct(model(HALVES), FIRST).all())
    assert not bool(correct(InHalf(model)(HALVES), FIRST).any())
    found = hb.HalfPrecision(attack=hb.PGD(steps=3))(model, HALVES, FIRST, threat)
    assert not bool(found.fooled.any())
    assert bool(threat.allows(found.examples, HALVES).all())


def test_what_is_not_confirmed_is_searched_for_again():
    """In half precision the attack stops at the image itself, for it seems to be wrong already."""
    model, threat, plain = Close(), hb.LInf(2**-10), hb.PGD(steps=3)  # twice what it takes
    found = hb.HalfPrecision(attack=plain)(model, HALVES, FIRST, threat)
    assert bool(found.fooled.all())
    assert not bool(correct(model(found.examples), FIRST).any())


@pytest.mark.parametrize("name", ATTACKS)
def test_it_finds_what_the_attack_does(name, digits_net, digits):
    data, threat = digits.rows(slice(0, 150)), hb.LInf(0.06)
    both = [
        attack(digits_net, data.images, data.labels, threat, generator=torch.Generator())
        for attack in (ATTACKS[name], hb.HalfPrecision(attack=ATTACKS[name]))
    ]
    plain, half = (int(found.fooled.sum()) for found in both)
    assert 10 < plain < 140
    assert abs(plain - half) <= 6
    found = both[1]
    assert torch.equal(found.fooled, ~correct(digits_net(found.examples), data.labels))
    assert bool(threat.allows(found.examples, data.images).all())
    assert found.forwards > 0


def test_behind_a_front(digits_net, digits):
    """The front is computed as it is, the network behind it in half precision."""
    data, model = digits.rows(slice(0, 100)), nn.Sequential(hb.Clip(0.3, 0.7), digits_net)
    parts = InHalf(model).front_and_body()
    assert parts is not None
    front, body = parts
    assert isinstance(front, hb.Clip)
    assert isinstance(body, InHalf)
    with torch.no_grad():
        rough = (model(data.images) - body(front(data.images))).abs().amax()
    assert 0 < float(rough) < 0.3
    attack = hb.BehindFront(attack=hb.PGD(steps=10))
    plain = attack(model, data.images, data.labels, hb.LInf(0.1)).fooled
    found = hb.HalfPrecision(attack=attack)(model, data.images, data.labels, hb.LInf(0.1))
    assert 5 < int(plain.sum()) < 95
    assert abs(int(plain.sum()) - int(found.fooled.sum())) <= 4
    assert torch.equal(found.fooled, ~correct(model(found.examples), data.labels))


def test_an_attack_says_the_same_of_itself():
    plain = hb.protocols.ATTACKS["square"]
    half = hb.HalfPrecision(attack=plain)
    assert (half.cost, half.chunk, half.uses_gradients) == (plain.cost, plain.chunk, False)
    assert half.cheapest() == hb.HalfPrecision(attack=plain.cheapest())
    assert half.description() != plain.description()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_evaluation_names_its_attacks_for_it(processes, digits_net, digits):
    data, model = digits.rows(slice(0, 60)), nn.Sequential(hb.Clip(0.3, 0.7), digits_net)
    attacks = {"pgd": hb.PGD(steps=4)}
    found = hb.evaluate(
        model, data, eps=0.1, attacks=attacks, precision="bf16-mixed", processes=processes
    )
    assert {score.attack for score in found.scores} == {
        "pgd-bf16",
        "front-pgd-bf16",
        "front-pgd-decay-20-x5-bf16",
        "front-square-bf16",
    }
    broken = found.broken_at.isfinite()
    assert 5 < int(broken.sum()) < 60
    assert torch.equal(~correct(model(found.witnesses), data.labels), broken)
    assert all(score.unconfirmed == 0 for score in found.scores)


def test_an_unknown_precision_is_refused(digits_net, digits):
    with pytest.raises(
        hb.UserError, match=r"unknown precision 'fp8'.*there are: 32-true, bf16-mix"
    ):
        hb.evaluate(digits_net, digits, eps=0.1, attacks=ATTACKS, precision="fp8")


def test_at_the_command_line(hardball: Hardball):
    flags = ("--eps", 0.1, "--n", 40, "--precision", "bf16-mixed")
    code, out, _ = hardball("evaluate", "at", *flags)
    assert code == 0
    assert "pgd-20-bf16" in out
    assert hardball("verify", "at")[0] == 0
    code, _, message = hardball("evaluate", "at", *flags, "--protocol", "checklist")
    assert code == 2
    assert "--precision bf16-mixed with --protocol checklist" in message
    assert "Traceback" not in message
