"""The geometry of every threat model: projection, sampling, steepest step."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import beta, kstest

from hardball import L0, L2, LInf, ThreatModel, Unbounded, UserError
from hardball.seeding import generators
from hardball.threats import GEOMETRIES

NORMS = sorted(GEOMETRIES)
WITH_RADIUS = [norm for norm in NORMS if GEOMETRIES[norm].radii[0] == 0]

PIXELS = st.floats(0, 1)
SHAPES = st.sampled_from([(1, 6), (3, 6), (2, 1, 2, 3)])


def tensors(shape, elements):
    return arrays("float64", shape, elements=elements).map(torch.from_numpy)


def widest(norm):
    """A radius that is no restriction any more on six pixels."""
    return min(7.0, GEOMETRIES[norm].radii[1])


def radii(norm):
    lowest = GEOMETRIES[norm].radii[0]
    return st.just(lowest) | st.floats(lowest, widest(norm))


@st.composite
def problems(draw, norm):
    """(threat with one ε per example, points to project, centres)."""
    shape = draw(SHAPES)
    threat = ThreatModel(norm, draw(tensors(shape[:1], radii(norm))))
    moved = draw(tensors(shape, st.floats(-2, 3) | st.floats(-1e9, 1e9)))
    return threat, moved, draw(tensors(shape, PIXELS))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", NORMS)
@given(data=st.data())
def test_projection_is_feasible_idempotent_and_leaves_its_input_alone(norm, data):
    threat, moved, centre = data.draw(problems(norm))
    before = moved.clone(), centre.clone()
    point = threat.project(moved, centre)
    assert threat.allows(point, centre, slack=1e-12).all()
    torch.testing.assert_close(threat.project(point, centre), point, rtol=0, atol=1e-12)
    assert torch.equal(moved, before[0])
    assert torch.equal(centre, before[1])


@pytest.mark.parametrize("norm", NORMS)
@given(data=st.data())
def test_projection_of_a_batch_is_that_of_its_examples(norm, data):
    threat, moved, centre = data.draw(problems(norm))
    alone = [
        threat.at(float(eps)).project(m[None], c[None])[0]
        for eps, m, c in zip(threat.eps, moved, centre, strict=True)
    ]
    torch.testing.assert_close(
        threat.project(moved, centre), torch.stack(alone), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("norm", NORMS)
@given(data=st.data())
def test_projection_leaves_a_point_inside_where_it_is(norm, data):
    threat, _, centre = data.draw(problems(norm))
    inside = threat.sample(centre, seeded(data.draw(st.integers(0, 2**32))))
    assert threat.allows(inside, centre, slack=1e-12).all()
    torch.testing.assert_close(threat.project(inside, centre), inside, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@given(data=st.data())
def test_no_feasible_point_is_nearer(norm, data):
    """Against a lattice through every coordinate that matters, in three dimensions."""
    centre = data.draw(tensors((3,), PIXELS))
    moved = data.draw(tensors((3,), st.floats(-1, 2)))
    eps = data.draw(radii(norm))
    axes = [
        torch.cat([torch.linspace(0, 1, 9), torch.tensor([c, m, c - eps, c + eps]).clamp(0, 1)])
        for c, m in zip(centre.tolist(), moved.tolist(), strict=True)
    ]
    lattice = torch.tensor(list(itertools.product(*(axis.tolist() for axis in axes))))
    threat = ThreatModel(norm, eps)
    lattice = lattice.double()[threat.allows(lattice.double(), centre.expand(len(lattice), 3))]
    distance = (threat.project(moved[None], centre[None]) - moved).norm()
    assert (distance <= (lattice - moved).norm(dim=1) + 1e-5).all()


@given(seed=st.integers(0, 2**32), eps=st.floats(0.05, 8))
def test_l2_projection_of_images_is_the_one_of_bisection(seed, eps):
    """ball ∩ box of 784 pixels: the nearest point is clip(centre + t·δ) with t found by bisection."""
    generator = seeded(seed)
    centre = torch.rand(2, 784, dtype=torch.float64, generator=generator).round(decimals=1)
    delta = torch.randn(2, 784, dtype=torch.float64, generator=generator)
    low, high = torch.zeros(2, 1, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    for _ in range(60):
        middle = (low + high) / 2
        size = ((centre + middle * delta).clamp(0, 1) - centre).norm(dim=1, keepdim=True)
        low, high = torch.where(size > eps, low, middle), torch.where(size > eps, middle, high)
    expected = (centre + high * delta).clamp(0, 1)
    torch.testing.assert_close(L2(eps).project(centre + delta, centre), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", WITH_RADIUS)
@given(data=st.data())
def test_radius_zero_gives_the_centre_exactly(norm, data):
    threat, moved, centre = data.draw(problems(norm))
    assert torch.equal(threat.at(0).project(moved, centre), centre)
    assert torch.equal(threat.at(0).sample(centre, seeded()), centre)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps", [0.0, 1e-30, 1e-3, 1.0, 1e30])
@pytest.mark.parametrize("far", [0.0, 1e-30, 1.0, 1e30])
def test_neither_zero_nor_huge_values_give_nan(norm, eps, far):
    lowest, highest = GEOMETRIES[norm].radii
    threat = ThreatModel(norm, min(max(eps, lowest), highest))
    centre = torch.tensor([[0.0, 0.3, 1.0]]).repeat(4, 1)
    signs = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [0.0, 0.0, 1.0]])
    assert threat.allows(threat.project(centre + far * signs, centre), centre).all()
    assert threat.allows(threat.sample(centre, seeded()), centre).all()
    step = threat.steepest(far * signs)
    assert step.isfinite().all()
    assert step[0].count_nonzero() == 0


def test_l0_keeps_the_moves_that_bring_it_closest_even_from_afar():
    """Squared distances of 10¹⁰ must not swallow what distinguishes two pixels."""
    centre = torch.tensor([[0.2, 0.9, 0.2]])
    moved = torch.tensor([[1e5, 1e5, -1e5]])
    torch.testing.assert_close(L0(1).project(moved, centre), torch.tensor([[1.0, 0.9, 0.2]]))


GREY_RADII = {"linf": 0.4, "l2": 0.4, "l0": 2.0, "unbounded": 1.0}
"""Radii at which a ball around grey lies in the box as far as its norm allows."""


@pytest.mark.parametrize("norm", NORMS)
@given(data=st.data())
def test_a_long_steepest_step_maximises_a_linear_function(norm, data):
    """Over the ball inside the box around grey, whose maximum is known in closed form."""
    slope = data.draw(tensors((1, 6), st.just(0.0) | st.floats(0.1, 1) | st.floats(-1, -0.1)))
    centre = torch.full_like(slope, 0.5)
    eps = GREY_RADII[norm]
    highest = {
        "linf": eps * slope.abs().sum(),
        "l2": eps * slope.norm(),
        "l0": 0.5 * slope.abs().sort(descending=True).values[0, :2].sum(),
        "unbounded": 0.5 * slope.abs().sum(),
    }[norm]
    threat = ThreatModel(norm, eps)
    point = threat.project(centre + 1e3 * threat.steepest(slope), centre)
    torch.testing.assert_close(((point - centre) * slope).sum(), highest, rtol=1e-9, atol=1e-12)
    others = threat.sample(centre.expand(50, -1), seeded())
    assert (((others - centre) * slope).sum(dim=1) <= highest + 1e-9).all()


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("unbounded", 1)])
@given(slope=tensors((2, 1, 2, 3), st.just(0.0) | st.floats(1e-6, 1e3) | st.floats(-1e3, -1e-6)))
def test_steepest_step_has_unit_size_and_attains_the_dual_norm(norm, dual, slope):
    threat = ThreatModel(norm, 1.0)
    step = threat.steepest(slope)
    rise = (step * slope).flatten(1).sum(dim=1)
    expected = torch.linalg.vector_norm(slope.flatten(1), ord=dual, dim=1)
    torch.testing.assert_close(rise, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(threat.size(step), (expected > 0).double())


UNIFORM = {
    "linf": lambda delta, eps: (delta / eps + 1) / 2,
    "unbounded": lambda delta, eps: delta + 0.5,
    "l2": lambda delta, eps: (delta.norm(dim=1) / eps) ** delta.shape[1],
    "l0": lambda delta, eps: delta[delta != 0] + 0.5,
}
"""norm → numbers that are uniform in [0, 1] if the perturbations of a grey image are."""


@pytest.mark.parametrize("norm", NORMS)
def test_samples_are_uniform_in_the_ball(norm):
    eps = GREY_RADII[norm]
    centre = torch.full((4000, 5), 0.5, dtype=torch.float64)
    delta = ThreatModel(norm, eps).sample(centre, seeded(1)) - centre
    assert kstest(UNIFORM[norm](delta, eps).flatten(), "uniform").pvalue > 1e-3
    assert abs(delta.mean()) < 4 * delta.std() / delta.numel() ** 0.5


def test_l2_samples_point_everywhere_alike():
    centre = torch.full((4000, 5), 0.5, dtype=torch.float64)
    delta = L2(0.4).sample(centre, seeded(1)) - centre
    cosines = delta / delta.norm(dim=1, keepdim=True)
    for axis in cosines.T:
        assert kstest((axis + 1) / 2, beta(2, 2).cdf).pvalue > 1e-3


def test_l0_samples_choose_every_pixel_alike():
    centre = torch.full((4000, 5), 0.5)
    changed = L0(2).sample(centre, seeded(1)) != centre
    assert (changed.sum(dim=1) == 2).all()
    deviation = (changed.double().mean(dim=0) - 0.4).abs()
    assert (deviation < 4 * (0.4 * 0.6 / 4000) ** 0.5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_with_its_own_generator_an_example_does_not_see_its_companions(norm):
    centre = torch.rand(5, 1, 3, 3, generator=seeded())
    threat = ThreatModel(norm, widest(norm))
    together = threat.sample(centre, generators(0, range(5)))
    assert len({tuple(image.flatten().tolist()) for image in together - centre}) == 5
    for i in range(5):
        assert torch.equal(threat.sample(centre[[i]], generators(0, [i])), together[[i]])
    assert threat.sample(centre[:0], []).shape == (0, 1, 3, 3)


@pytest.mark.parametrize("norm", NORMS)
def test_rows_of_a_threat_model_keep_their_radius(norm):
    low, high = GEOMETRIES[norm].radii[0], widest(norm)
    index = torch.tensor([2, 0])
    kept = ThreatModel(norm, torch.tensor([low, high, 1.0])).rows(index).eps
    assert isinstance(kept, torch.Tensor)
    assert kept.tolist() == [1.0, low]
    assert ThreatModel(norm, high).rows(index).eps == high


@pytest.mark.parametrize(
    ("threat", "moved"),
    [
        (LInf(0.1), [0.61, 0.5]),
        (L2(0.1), [0.58, 0.58]),
        (L0(1), [0.6, 0.6]),
        (Unbounded(), [1.001, 0.5]),
        (Unbounded(), [float("nan"), 0.5]),
    ],
)
def test_what_lies_outside_is_not_allowed(threat, moved):
    grey = torch.full((1, 2), 0.5)
    assert not threat.allows(torch.tensor([moved]), grey)
    assert threat.allows(grey, grey)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ThreatModel("l1", 0.1), r"'l1'.*l0, l2, linf, unbounded"),
        (lambda: LInf(8), r"eps=8 .*\[0, 1\].*8/255"),
        (lambda: LInf(-0.1), r"eps=-0.1 .*\[0, 1\]"),
        (lambda: L2(float("nan")), r"eps=nan .*\[0, inf\)"),
        (lambda: L2(float("inf")), r"eps=inf .*\[0, inf\)"),
        (lambda: L0(torch.tensor([3.0, -1.0])), r"-1.*\[0, inf\)"),
        (lambda: Unbounded().at(0.3), r"eps=0.3 for unbounded.*\[1, 1\]"),
        (lambda: L2(torch.ones(2, 2)), r"one per example"),
        (
            lambda: LInf(torch.ones(2)).project(torch.ones(3, 1), torch.ones(3, 1)),
            r"2 values of eps for 3 examples.*one for each",
        ),
        (
            lambda: L2(1.0).sample(torch.ones(3, 1), generators(0, range(2))),
            r"2 generators for 3 examples.*one for each",
        ),
    ],
)
def test_refusals_name_the_value_and_the_cure(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("threat", "text"),
    [(LInf(8 / 255), "linf ε=0.0313725"), (L0(12), "l0 ε=12"), (Unbounded(), "unbounded")],
)
def test_a_threat_model_reads_as_what_it_is(threat, text):
    assert str(threat) == text
