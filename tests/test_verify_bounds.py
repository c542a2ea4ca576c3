"""Certified margins, computed again by `verify`: honest ones hold, raised and forged ones do not."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hardball as hb
from hardball.verification import bounds, relaxed
from hardball.verification.arithmetic import SLACK, wilson
from test_ibp import NETWORKS
from test_verify import Evaluated, evaluated

EPS = [0.004, 0.01]


@pytest.fixture(scope="module")
def untouched(_trained_digits_cnn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("proved")
    return evaluated(folder, _trained_digits_cnn, eps=EPS, certify=["ibp"])


@pytest.fixture
def honest(untouched, tmp_path):
    for file in (untouched.weights, untouched.record, untouched.witnesses):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return Evaluated(tmp_path)


def stated(right: int, n: int) -> dict[str, Any]:
    low, high = wilson(right, n)
    return {"accuracy": right / n, "low": low, "high": high, "right": right, "n": n}


def recounted(made: Evaluated) -> None:
    """Make the counts fit the stored flags, as a forger would."""
    flags = storage_of(made)["certified"]
    rows = json.loads(made.record.read_text())["certified"]
    made.tell(
        certified=[
            row | stated(int(one.sum()), len(one)) for row, one in zip(rows, flags, strict=True)
        ]
    )


def storage_of(made: Evaluated) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    return load(made.witnesses.read_bytes())


def test_an_honest_evaluation_holds_and_says_the_bracket(honest):
    found = honest.verify()
    assert [one for one in found.findings if not one.holds] == []
    lines = {one.what: one.found for one in found.findings}
    assert "proved anew" in lines["ibp at ε=0.004: bounds"]
    assert "≤ true ≤" in lines["ibp at ε=0.004 against witnesses"]
    row = json.loads(honest.record.read_text())["certified"][0]
    assert 5 < row["right"] < 40
    assert f"at least {row['accuracy']:.1%} (ibp, proved anew) at ε=0.004" in found.sentence
    assert json.loads(honest.record.read_text())["certificates"] == {"ibp": {"kind": "IBP"}}


def test_the_margins_are_stored_and_read_back(honest):
    tensors = storage_of(honest)
    assert tensors["margins"].dtype == torch.float64
    assert torch.equal(tensors["margins"] > 0, tensors["certified"])
    again = hb.load_evaluation(honest.weights)
    margins = again.proofs[1].margins
    assert margins is not None
    assert torch.equal(margins, tensors["margins"][1])
    assert again.certificates == {"ibp": {"kind": "IBP"}}


def unproved(tensors: dict[str, torch.Tensor]) -> int:
    """An image that is not proved at the larger ε, and that no attack broke there."""
    free = ~tensors["certified"][1]
    free[tensors["index"]] = False
    return int(free.nonzero()[0])


def a_margin_raised(tensors):
    tensors["margins"][1, unproved(tensors)] *= 0.99


def a_margin_of_a_proved_image_raised(tensors):
    tensors["margins"][0, int(tensors["certified"][0].nonzero()[0])] += 0.05


def a_proof_too_many(tensors):
    tensors["certified"][1, unproved(tensors)] = True


def a_proof_and_its_margin(tensors):
    row = unproved(tensors)
    tensors["certified"][1, row], tensors["margins"][1, row] = True, 0.5


def a_proof_and_no_margins(tensors):
    a_proof_too_many(tensors)
    del tensors["margins"]


def a_proof_too_few(tensors):
    tensors["certified"][0, int(tensors["certified"][0].nonzero()[0])] = False


def other_margins(tensors):
    tensors["margins"] -= 0.1
    tensors["certified"] = tensors["margins"] > 0


@pytest.mark.parametrize(
    ("lie", "said"),
    {
        a_margin_raised: "raised",
        a_margin_of_a_proved_image_raised: "raised",
        a_proof_too_many: "certified, not proved",
        a_proof_and_its_margin: "certified, not proved",
        a_proof_and_no_margins: "certified, not proved",
        a_proof_too_few: "otherwise than its margin",
        other_margins: "another margin",
    }.items(),
)
def test_a_forged_margin_is_refuted(lie, said, honest):
    honest.forge(lie)
    recounted(honest)
    failed = [one for one in honest.verify().findings if not one.holds]
    assert failed
    assert all(one.what.endswith(": bounds") for one in failed)
    assert said in failed[0].found
    assert "image" in failed[0].found


def test_certified_and_broken_names_the_image(honest):
    tensors = storage_of(honest)
    row = int(tensors["index"][(tensors["eps"] == 0.01).nonzero()[0]])

    def lie(tensors):
        tensors["certified"][1, row], tensors["margins"][1, row] = True, 1.0

    honest.forge(lie)
    recounted(honest)
    failed = {one.what: one.found for one in honest.verify().findings if not one.holds}
    assert failed["ibp at ε=0.01 against witnesses"] == f"image {row} certified and broken"


def test_margins_of_the_wrong_length_are_refused(honest):
    honest.forge(lambda tensors: tensors.update(margins=tensors["margins"][:1]))
    assert honest.refuted() == ["certified"]


def test_somebody_else_s_certificate_is_not_repeated_and_said_so(honest):
    honest.tell(certificates={"ibp": {"kind": "Mine"}})
    found = honest.verify()
    assert found.holds
    assert any("Not repeated: ibp at ε=0.01" in line for line in found.remarks)
    assert "proved anew" not in found.sentence


# ---------------------------------------------------------------- the arithmetic


@pytest.mark.parametrize("name", NETWORKS)
def test_they_agree_with_the_certificate_and_are_no_higher_than_exact(name):
    """Two implementations, one bound: theirs lies between the bound of exact arithmetic and the one
    with rounding, but for what each allows for it."""
    net, source = NETWORKS[name], torch.Generator().manual_seed(2)
    images, labels = torch.rand(6, 1, 6, 6, generator=source), torch.arange(6) % 3
    for eps in (0.0, 0.01, 0.2):
        theirs = hb.IBP().margins(net, images, labels, hb.LInf(eps))
        how = (images, labels, eps * (1 + SLACK) + SLACK)
        exact, sound = (bounds.margins(net, *how, exact=one) for one in (True, False))
        assert (sound <= exact).all()
        assert (theirs <= exact + 1e-12).all()
        assert (theirs >= exact - 8 * (exact - sound) - 1e-5).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_no_margin_in_the_ball_is_smaller(name):
    net, source = NETWORKS[name], torch.Generator().manual_seed(3)
    images, labels = torch.rand(4, 1, 6, 6, generator=source), torch.arange(4) % 3
    least = bounds.margins(net, images, labels, 0.1, exact=False)
    with torch.no_grad():
        for number in range(100):
            share = 2 * torch.rand(images.shape, generator=source) - 1
            share = share.sign() if number % 2 else share
            logits = net((images + 0.1 * share).clamp(0, 1)).double()
            others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
            assert (logits.gather(1, labels[:, None]).squeeze(1) - others >= least).all()


def test_a_sum_in_float32_stays_inside():
    """Terms that cancel: the result is far smaller than what rounding may do to it."""
    source = np.random.default_rng(0)
    layer = nn.Linear(400, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(source.normal(size=(2, 400)) * 1e3).float())
        layer.bias.zero_()
    images = torch.from_numpy(source.random((50, 1, 20, 20))).float()
    net = nn.Sequential(nn.Flatten(), layer)
    low = bounds.margins(net, images, torch.zeros(50, dtype=torch.int64), 0.0, exact=False)
    exact = bounds.margins(net, images, torch.zeros(50, dtype=torch.int64), 0.0, exact=True)
    with torch.no_grad():
        logits = net(images).double()
    assert (logits[:, 0] - logits[:, 1] >= low).all()
    assert ((exact - low) > 0).all()


def test_what_it_cannot_follow_is_named():
    class Odd(nn.Module):
        def forward(self, images):
            return images.flatten(1).cos()

    with pytest.raises(bounds.Unknown, match="cos"):
        bounds.margins(Odd(), torch.rand(1, 1, 1, 3), torch.tensor([0]), 0.1, exact=True)


def test_an_average_of_terms_that_cancel_is_widened_by_their_size():
    """Found by this second computation: the certificate took the size of the average alone."""
    net = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(1, 2))
    scaled = nn.Sequential(hb.Normalize([0.5], [1e-6]), *net)
    images = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])
    labels = torch.tensor([0])
    theirs = hb.IBP().margins(scaled.eval(), images, labels, hb.LInf(0.0))
    exact = bounds.margins(scaled, images, labels, SLACK, exact=True)
    weight = net[2].get_parameter("weight").detach()
    assert exact - theirs > 4 * 2.0**-23 * 5e5 * 0.5 * float((weight[0] - weight[1]).abs())


# ---------------------------------------------------------------- linear relaxation


@pytest.mark.parametrize("name", NETWORKS)
def test_the_two_relaxations_are_one(name):
    net, source = NETWORKS[name], torch.Generator().manual_seed(2)
    images, labels = torch.rand(6, 1, 6, 6, generator=source), torch.arange(6) % 3
    for eps in (0.0, 0.01, 0.1):
        theirs = hb.CROWNIBP().margins(net, images, labels, hb.LInf(eps))
        how = (images, labels, eps * (1 + SLACK) + SLACK)
        exact, sound = (relaxed.margins(net, *how, exact=one) for one in (True, False))
        assert (sound <= exact + 1e-6).all()
        assert (sound >= bounds.margins(net, *how, exact=False)).all()
        torch.testing.assert_close(theirs, exact, rtol=1e-3, atol=1e-3)


def test_linear_relaxations_are_proved_anew_too(digits_net, tmp_path):
    made = evaluated(tmp_path, digits_net, eps=[0.01, 0.03], n=30, certify=["crown-ibp"])
    found = made.verify()
    assert [one for one in found.findings if not one.holds] == []
    assert "(crown-ibp, proved anew) at ε=0.01" in found.sentence
    made.forge(a_proof_and_its_margin)
    recounted(made)
    failed = [one for one in made.verify().findings if not one.holds]
    assert [one.what for one in failed] == ["crown-ibp at ε=0.03: bounds"]
    assert "certified, not proved" in failed[0].found
