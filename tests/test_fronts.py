"""Fronts: the box behind them, the way back to images, and attacks that lose nothing to them."""

import itertools
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import hardball as hb
from hardball.attacks.reach import InBox, Reach
from hardball.errors import CannotRun, Unsupported, UserError
from hardball.evaluation.forward import InItsType
from hardball.fronts import Chain, bent_front_of
from hardball.landscape.loss import AdversarialLoss
from hardball.losses import correct, cross_entropy
from hardball.models import MODELS


class Quantiser(hb.Front):
    """x ↦ round(levels·x)/levels."""

    continuous = False

    def __init__(self, levels: int = 16) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.levels).round() / self.levels


class Gamma(hb.Front):
    def forward(self, images: Tensor) -> Tensor:
        return images.clamp(min=0) ** 2.2


class Negative(hb.Front):
    increasing = False
    affine = True

    def forward(self, images: Tensor) -> Tensor:
        return 1 - images


class NoGradient(hb.Front):
    """A threshold as users write it: without a gradient."""

    continuous = False

    def forward(self, images: Tensor) -> Tensor:
        return (images > 0.5).float()


FRONTS: dict[str, hb.Front] = {
    "rounding": hb.Rounding(),
    "low threshold": hb.Rounding(0.3),
    "two thresholds": hb.Rounding([0.42, 0.58]),
    "four thresholds": hb.Rounding([0.1, 0.2, 0.5, 0.9]),
    "steep": hb.Rounding(steepness=40),
    "two steep": hb.Rounding([0.3, 0.7], steepness=40),
    "very steep": hb.Rounding(0.4, steepness=1000),
    "clip": hb.Clip(),
    "narrow clip": hb.Clip(0.45, 0.5),
    "quantiser": Quantiser(4),
    "gamma": Gamma(),
    "negative": Chain([Negative(), hb.Rounding()]),
    "normalised": Chain([hb.Normalize([0.3], [0.2]), nn.Tanh()]),
}

pixel = st.floats(0, 1, width=32)
eps = st.one_of(st.sampled_from([0.1, 0.25, 0.3, 0.4, 0.5]), st.floats(0.01, 0.6))


def images_of(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


# ---------------------------------------------------------------- the box and the way back


@pytest.mark.parametrize("name", FRONTS)
@given(values=st.lists(pixel, min_size=1, max_size=6), eps=eps, where=st.floats(0, 1))
def test_a_value_reached_in_the_ball_is_reached_by_its_pull_back(name, values, eps, where):
    front, images, threat = FRONTS[name], images_of(values), hb.LInf(eps)
    reach = Reach(front, images, threat)
    moved = threat.project(images + (2 * where - 1) * eps, images)
    wanted = front(moved)
    back = front.pull_back(wanted, images, reach.low, reach.high)
    assert bool(threat.allows(back, images))
    assert torch.equal(threat.project(back, images), back)
    if front.continuous:
        torch.testing.assert_close(front(back), wanted, atol=2e-5, rtol=1e-5)
    else:
        assert torch.equal(front(back), wanted)


@pytest.mark.parametrize("name", FRONTS)
@given(values=st.lists(pixel, min_size=1, max_size=6), eps=eps)
def test_every_place_of_the_box_comes_back_into_ball_and_box(name, values, eps):
    front, images, threat = FRONTS[name], images_of(values), hb.LInf(eps)
    reach = Reach(front, images, threat)
    for place in (0.0, 0.2, 0.5, 0.9, 1.0):
        points = InBox().project(torch.full_like(reach.points, place), reach.points)
        back = reach.pull_back(points)
        assert bool(threat.allows(back, images))
        assert torch.equal(threat.project(back, images), back)
    assert float(reach.points.min()) >= 0
    assert float(reach.points.max()) <= 1


@pytest.mark.parametrize("name", FRONTS)
@given(values=st.lists(pixel, min_size=2, max_size=6), eps=eps, seed=st.integers(0, 99))
def test_no_image_of_the_ball_leaves_the_box(name, values, eps, seed):
    front, images, threat = FRONTS[name], images_of(values), hb.LInf(eps)
    reach = Reach(front, images, threat)
    moved = threat.sample(images, torch.Generator().manual_seed(seed))
    low, high = front.interval(reach.low, reach.high)
    assert bool(((low <= front(moved)) & (front(moved) <= high)).all())


def test_pixels_whose_ball_ends_at_the_threshold():
    """In float32: a ball that ends at ½ does not cross it (½ is not above ½); one that ends a step of the
    number line further does."""
    threat, front = hb.LInf(0.25), hb.Rounding()
    above = torch.nextafter(torch.tensor(0.75), torch.tensor(1.0)).item()
    below = 0.25 + 2**-24  # twice the distance of neighbours at ¼, which is that at ½
    images = images_of([0.75, above, 0.25, below])
    low, high = front.interval(
        *(Reach(front, images, threat).low, Reach(front, images, threat).high)
    )
    assert low.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]
    assert high.flatten().tolist() == [1.0, 1.0, 0.0, 1.0]


def test_nothing_moves_without_need():
    images, threat, front = images_of([0.1, 0.45, 0.55, 0.95]), hb.LInf(0.1), hb.Rounding()
    reach = Reach(front, images, threat)
    back = front.pull_back(torch.tensor([0.0, 1.0, 0.0, 1.0]), images, reach.low, reach.high)
    assert back.flatten().tolist() == pytest.approx([0.1, 0.55, 0.45, 0.95])
    assert torch.equal(back[..., [0, 3]], images[..., [0, 3]])


def test_two_thresholds_fix_black_and_white_and_tell_more_of_grey():
    """What one threshold leaves open, two may close to one side; what it fixes at 0 and 1 stays fixed."""
    images, threat = images_of([0.0, 0.15, 0.85, 1.0]), hb.LInf(0.4)
    one, two = hb.Rounding(), hb.Rounding([0.42, 0.58])
    ends = [Reach(front, images, threat) for front in (one, two)]
    (low, high), (finer_low, finer_high) = (
        front.interval(reach.low, reach.high) for front, reach in zip((one, two), ends, strict=True)
    )
    assert torch.stack([low, high]).flatten().tolist() == [0, 0, 0, 1, 0, 1, 1, 1]
    assert torch.stack([finer_low, finer_high]).flatten().tolist() == [0, 0, 0.5, 1, 0, 0.5, 1, 1]


def test_rounding_is_what_it_says():
    images = images_of(
        [0.0, 0.5, torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)).item(), 1.0]
    )
    assert hb.Rounding()(images).flatten().tolist() == [0.0, 0.0, 1.0, 1.0]
    smooth = hb.Rounding(0.4, steepness=10)(images)
    torch.testing.assert_close(smooth, torch.sigmoid(10 * (images - 0.4)))
    two = hb.Rounding([0.25, 0.5])
    assert two(images_of([0.0, 0.25, 0.3, 0.5, 0.6])).flatten().tolist() == [0, 0, 0.5, 0.5, 1]
    both = hb.Rounding([0.25, 0.5], steepness=10)(images)
    torch.testing.assert_close(
        both, (torch.sigmoid(10 * (images - 0.25)) + torch.sigmoid(10 * (images - 0.5))) / 2
    )
    wrong: Any
    for wrong in (1.5, [], [0.6, 0.4], [0.5, 0.5], [0.2, 1], "half", ["half"], {"t": 0.5}):
        with pytest.raises(
            UserError, match=rf"`threshold={re.escape(str(wrong))}`; allowed is a number"
        ):
            hb.Rounding(wrong)
    with pytest.raises(UserError, match=r"`steepness=0`; allowed is a positive number"):
        hb.Rounding(steepness=0)


def test_clip_is_what_it_says():
    images = images_of([0.0, 0.25, 0.375, 0.5, 0.75, 1.0])
    assert hb.Clip(0.25, 0.5)(images).flatten().tolist() == [0, 0, 0.5, 1, 1, 1]
    low: Any
    high: Any
    for low, high in ((-0.1, 0.5), (0.5, 0.5), (0.6, 0.4), (0.5, 1.1), ("a", 0.5), (0.1, None)):
        with pytest.raises(
            UserError, match=rf"`low={low}` with `high={high}`; allowed are 0 ≤ low"
        ):
            hb.Clip(low, high)


@given(values=st.lists(pixel, min_size=1, max_size=6), eps=st.floats(0.05, 0.45))
def test_clip_fixes_what_two_thresholds_fix_and_keeps_what_they_tell(values, eps):
    """Rounding behind it to the same two thresholds is rounding before it."""
    low, high = eps + 0.01, 1 - eps - 0.01
    middle = [low + share * (high - low) for share in (0.25, 0.75)]
    clip, images = hb.Clip(low, high), images_of([0.0, 0.005, 0.995, 1.0, *values])
    near = (images[..., None] - torch.tensor(middle)).abs().amin(dim=-1) < 1e-5
    told = torch.where(near, 0.0, hb.Rounding([0.25, 0.75])(clip(images)))
    assert torch.equal(told, torch.where(near, 0.0, hb.Rounding(middle)(images)))
    reach = Reach(clip, images, hb.LInf(eps))
    ends = torch.stack(clip.interval(reach.low, reach.high))[..., :4].flatten(1)
    assert ends.tolist() == [[0, 0, 1, 1]] * 2


# ---------------------------------------------------------------- who has one


def test_the_front_of_a_model_and_of_the_users_own():
    net = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})
    images = torch.rand(3, 1, 8, 8)
    nested = nn.Sequential(nn.Sequential(hb.Normalize([0.5], [0.5]), hb.Rounding()), net)
    for model in (
        hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4}, front="rounding"),
        nn.Sequential(hb.Rounding(), net),
        nn.Sequential(Gamma(), nn.Flatten(), nn.Linear(64, 10)),
        nn.Sequential(nn.Sigmoid(), net),
        nested,
    ):
        found = hb.front_of(model)
        assert found is not None
        front, body = found
        assert torch.equal(body(front(images)), model(images))
        assert bent_front_of(model) is not None
    normalised = nn.Sequential(hb.Normalize([0.5], [0.5]), net)
    assert hb.front_of(normalised) is not None
    assert bent_front_of(normalised) is None
    for without in (net, nn.Sequential(net), nn.Sequential(nn.Flatten(), nn.Sigmoid()), abs):
        assert hb.front_of(without) is None


def test_a_cast_before_a_front_is_a_part_of_it():
    model = nn.Sequential(hb.Rounding(), nn.Flatten(), nn.Linear(4, 3)).double()
    found = hb.front_of(InItsType(model, torch.float64))
    assert found is not None
    front, body = found
    images = torch.rand(2, 1, 2, 2)
    torch.testing.assert_close(body(front(images)), model(images.double()))
    assert not front.continuous


def test_names_of_fronts():
    with pytest.raises(UserError, match=r"unknown front 'round'; did you mean 'rounding'"):
        hb.build("digits_cnn", (1, 8, 8), 10, front="round")
    with pytest.raises(UserError, match=r"front rounding with .*steep"):
        hb.build("digits_cnn", (1, 8, 8), 10, front="rounding", front_args={"steep": 1})


# ---------------------------------------------------------------- the exact attack


def tiny(seed: int, front: nn.Module) -> nn.Module:
    """A random network of nine pixels behind a front."""
    torch.manual_seed(seed)
    return nn.Sequential(front, nn.Flatten(), nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 3))


def broken_by_corners(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """bool [B]: some corner of the ball, of all 2⁹, is misclassified."""
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=9))).view(-1, 1, 3, 3)
    found = []
    for image, label in zip(images, labels, strict=True):
        corners = hb.LInf(eps).project(image + eps * signs, image.expand(len(signs), -1, -1, -1))
        found.append(bool((~correct(model(corners), label.expand(len(signs)))).any()))
    return torch.tensor(found)


@pytest.mark.parametrize("seed", [0, 2])
def test_a_search_among_the_corners_of_the_ball_itself_finds_what_is_there(seed):
    """A network without a front: the corners of nine pixels' ball, all tried."""
    model = tiny(seed, nn.Flatten())
    images = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    labels, threat = model(images).argmax(dim=1), hb.LInf(0.15)
    true = broken_by_corners(model, images, labels, 0.15)
    sources = [torch.Generator().manual_seed(i) for i in range(40)]
    found = hb.CornerSearch(queries=1000)(model, images, labels, threat, generator=sources)
    assert torch.equal(found.fooled, true)
    assert 5 < int(true.sum()) < 40
    assert bool(threat.allows(found.examples, images).all())
    alone = hb.CornerSearch(queries=1000)(
        model, images[7:8], labels[7:8], threat, generator=sources[7:8]
    )
    assert bool(alone.fooled) == bool(true[7])


ATTACKS: dict[str, hb.Attack] = {
    "pgd": hb.BehindFront(attack=hb.PGD(steps=30, restarts=20, loss="margin")),
    "square": hb.SquareBehindFront(queries=1000),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("seed", [0, 2, 4])
def test_agrees_with_brute_force_on_all_corners(name, seed):
    """Behind a threshold every reachable point is a corner: nine pixels have 2⁹."""
    model = tiny(seed, hb.Rounding())
    images = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    labels = model(images).argmax(dim=1)
    for eps in (0.1, 0.3):
        true = broken_by_corners(model, images, labels, eps)
        found = ATTACKS[name](model, images, labels, hb.LInf(eps), generator=torch.Generator())
        assert not bool((found.fooled & ~true).any())
        assert int((true & ~found.fooled).sum()) <= (2 if name == "pgd" else 0)
        assert 5 < int(true.sum()) < 40
        assert bool(hb.LInf(eps).allows(found.examples, images).all())


@pytest.mark.parametrize(
    "front", [hb.Rounding(steepness=300), hb.Clip(0.3, 0.7), Gamma(), Quantiser(4), NoGradient()]
)
def test_a_linear_network_behind_a_front_falls_exactly_where_it_must(front):
    """Of a linear network the worst reachable point is known: each pixel at its own end."""
    torch.manual_seed(0)
    linear = nn.Linear(9, 2)
    model = nn.Sequential(front, nn.Flatten(), linear)
    images = torch.rand(200, 1, 3, 3)
    labels, threat = model(images).argmax(dim=1), hb.LInf(0.12)
    reach = Reach(front, images, threat)
    low, high = (end.flatten(1) for end in front.interval(reach.low, reach.high))
    slope = (linear.weight[0] - linear.weight[1]) * (2 * labels - 1)[:, None]
    worst = torch.where(slope > 0, high, low)
    falls = ~correct(linear(worst), labels)
    found = hb.BehindFront(attack=hb.PGD(steps=20))(model, images, labels, threat)
    assert torch.equal(found.fooled, falls)
    assert 0 < int(falls.sum()) < 200


def test_a_quantised_copy_of_a_weak_network_falls_as_the_weak_one_does(digits_net, digits):
    """The digits have 17 levels: rounding to them changes no image, and hides every gradient."""
    data = digits.rows(slice(0, 120))
    weak = hb.evaluate(digits_net, data, eps=0.12, attacks={"pgd": hb.PGD(steps=40)})
    copy = nn.Sequential(Quantiser(16), digits_net)
    hidden = hb.evaluate(copy, data, eps=0.12, attacks={"pgd": hb.PGD(steps=40)})
    by = {score.attack: score for score in hidden.scores}
    assert hidden.clean == weak.clean
    assert set(by) == {"pgd", "front-pgd", "front-pgd-decay-20-x5", "front-square"}
    assert by["front-pgd"].broken > 0
    assert by["front-pgd"].unconfirmed == 0
    # 0.12 reaches to the levels within 2/16 and rounds to them; the weak one is moved by 0.12 itself
    assert hidden.worst[0.12].value <= weak.worst[0.12].value + 0.03


def test_an_undeclared_threshold_hides_the_gradient_and_a_declared_one_does_not(digits_net, digits):
    data = digits.rows(slice(0, 60))
    images, labels = data.images, data.labels

    class Undeclared(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return digits_net(hb.Rounding()(images))

    model, attack = nn.Sequential(hb.Rounding(), digits_net), hb.PGD(steps=20, loss="margin")
    blind = attack(Undeclared(), images, labels, hb.LInf(0.2)).fooled
    seeing = hb.BehindFront(attack=attack)(model, images, labels, hb.LInf(0.2)).fooled
    assert int((seeing & ~blind).sum()) > 10
    assert not bool((blind & ~seeing).any())
    with pytest.raises(CannotRun, match=r"attacks the network behind a front, and this model"):
        hb.BehindFront(attack=attack)(digits_net, images, labels, hb.LInf(0.2))
    with pytest.raises(CannotRun, match=r"attacks the network behind a front, and this model"):
        hb.SquareBehindFront()(digits_net, images, labels, hb.LInf(0.2))


def test_other_norms_are_refused_and_left_alone_by_an_evaluation(digits_net, digits):
    model, data = nn.Sequential(hb.Rounding(), digits_net), digits.rows(slice(0, 20))
    for attack in ATTACKS.values():
        with pytest.raises(Unsupported, match=r"norm l2 for an attack in the box"):
            attack(model, data.images, data.labels, hb.L2(1.0))
    scores = hb.evaluate(model, data, eps=1.0, norm="l2", attacks={"pgd": hb.PGD(steps=3)}).scores
    assert [score.attack for score in scores] == ["pgd"]


def test_unbounded_behind_a_front_leaves_nothing(digits_net, digits):
    model, data = nn.Sequential(hb.Rounding(), digits_net), digits.rows(slice(0, 40))
    found = ATTACKS["pgd"](model, data.images, data.labels, hb.Unbounded())
    assert bool(found.fooled.all())


@pytest.mark.parametrize("name", ATTACKS)
def test_an_example_does_not_depend_on_its_companions(name, digits_net, digits):
    model, data = nn.Sequential(hb.Rounding(), digits_net), digits.rows(slice(0, 12))
    attack = {
        "pgd": hb.BehindFront(attack=hb.PGD(steps=3)),
        "square": hb.SquareBehindFront(queries=9),
    }

    def run(rows: slice) -> Tensor:
        sources = [torch.Generator().manual_seed(i) for i in range(12)][rows]
        images, labels = data.images[rows], data.labels[rows]
        return attack[name](model, images, labels, hb.LInf(0.1), generator=sources).examples

    whole = run(slice(0, 12))
    torch.testing.assert_close(torch.cat([run(slice(0, 5)), run(slice(5, 12))]), whole)


def test_a_step_in_pixels_is_taken_in_parts_of_eps(digits_net, digits):
    """Behind the identity, bent by nothing, the box is the ball: the same search."""
    data = digits.rows(slice(0, 40))
    images = data.images * 0.6 + 0.2  # ball inside the box: half an interval is ε
    model, threat = nn.Sequential(nn.Identity(), digits_net), hb.LInf(0.1)
    for attack in (
        hb.PGD(steps=5, random_start=False),
        hb.PGD(steps=5, step_size=0.03, random_start=False),
        hb.PGD(step_size=0.05, random_start=False),
    ):
        plain = attack(digits_net, images, data.labels, threat)
        behind = hb.BehindFront(attack=attack)(model, images, data.labels, threat)
        assert torch.equal(plain.fooled, behind.fooled)


# ---------------------------------------------------------------- training behind it


@pytest.mark.parametrize("args", [{}, {"steepness": 40}])
def test_training_learns_behind_a_front_where_it_is_stuck_without(args):
    """The plateau of large ε is a property of the input layer (issue: the paper's question 2)."""
    train = hb.load_dataset("digits-bw")
    settings = hb.Settings(optimizer=hb.Optimizer(name="adam", lr=2e-3), batch_size=32)
    reached = {}
    for front in (None, "rounding"):
        torch.manual_seed(0)
        model = hb.build(
            "digits_cnn",
            train.shape,
            10,
            {"width": 8},
            front=front,
            front_args=args if front else None,
        )
        run = hb.fit(
            model,
            train,
            curriculum=hb.Constant(0.4),
            epochs=2,
            attack=hb.PGD(steps=4),
            settings=settings,
        )
        reached[front] = run.history[-1]["val_adv_accuracy"]
    assert reached[None] < 0.2
    assert reached["rounding"] > 0.5


def test_a_training_attack_ends_at_an_image_of_the_ball(digits_net, digits):
    """And climbs, which one in image space cannot."""
    model, data, threat = (
        nn.Sequential(hb.Rounding(), digits_net),
        digits.rows(slice(0, 60)),
        hb.LInf(0.2),
    )
    images, labels = data.images, data.labels
    attack = hb.PGD(steps=5, keep="last")
    moved = hb.BehindFront(attack=attack).perturb(model, images, labels, threat)
    assert bool(threat.allows(moved, images).all())
    before, after = (cross_entropy(model(x), labels).mean().detach() for x in (images, moved))
    assert float(after) > 2 * float(before)
    still = attack.perturb(model, images, labels, threat, start=images)
    assert torch.equal(model(still), model(images))


def test_a_jump_is_refused_where_no_attack_sees_through_it():
    train = hb.load_dataset("digits-bw").rows(slice(0, 40))
    settings = hb.Settings(norm="l2", batch_size=20)
    model = hb.build("digits_cnn", train.shape, 10, {"width": 4}, front="rounding")
    with pytest.raises(UserError, match=r"norm=l2 with a front that jumps"):
        hb.fit(model, train, curriculum=hb.Constant(0.5), epochs=1, settings=settings)


def test_the_landscape_of_a_network_with_a_front_is_that_of_the_attack_behind_it(
    digits_net, digits
):
    model, data = nn.Sequential(hb.Rounding(), digits_net), digits.rows(slice(0, 40))
    adversarial = AdversarialLoss(threat=hb.LInf(0.2), attack=hb.PGD(steps=5)).mean(model, data)
    clean = float(cross_entropy(model(data.images), data.labels).mean().detach())
    assert adversarial > 2 * clean


def test_networks_by_name_take_a_front():
    for name in MODELS:
        shape = (3, 16, 16) if name.startswith("resnet") else (1, 16, 16)
        model = hb.build(name, shape, 10, front="rounding")
        assert bent_front_of(model) is not None
