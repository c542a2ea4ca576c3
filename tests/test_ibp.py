"""Interval bounds: sound against brute force, sampling and attacks, and exact where they must be."""

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

import hardball as hb
from hardball.certify.folded import Folded
from hardball.certify.intervals import Box, Intervals, Propagation, traced
from hardball.errors import CannotRun, Unsupported

EXACT = Propagation(rounding=False)


class Residual(nn.Module):
    """A block with a sum, batch norm and average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(images)))
        logits: Tensor = self.head(torch.flatten(self.pool(x + self.second(x)), 1))
        return logits


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    residual = Residual()
    residual.norm.get_buffer("running_mean").normal_()
    residual.norm.get_buffer("running_var").uniform_(0.5, 2)
    pooled = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(3, 3),
    )
    found = {
        "dense": nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)),
        "digits": hb.build("digits_cnn", (1, 6, 6), 3, {"width": 4}),
        "residual": residual,
        "pooled": pooled,
        "normalised": nn.Sequential(
            hb.Normalize([0.3], [0.2]), hb.build("digits_cnn", (1, 6, 6), 3)
        ),
        "rounded": nn.Sequential(hb.Rounding(), hb.build("digits_cnn", (1, 6, 6), 3, {"width": 4})),
        "clipped": nn.Sequential(hb.Clip(), nn.Flatten(), nn.Linear(36, 3)),
        "smooth": nn.Sequential(hb.Rounding(steepness=20), nn.Flatten(), nn.Linear(36, 3)),
        "monotone": nn.Sequential(
            nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 3), nn.Sigmoid()
        ),
    }
    return {name: net.eval() for name, net in found.items()}


NETWORKS = networks()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_output_lies_in_the_box(name: str) -> None:
    """Samples, and corners, which are the extreme points."""
    net, source = NETWORKS[name], torch.Generator().manual_seed(1)
    images = torch.rand(4, 1, 6, 6, generator=source)
    for eps in (0.0, 0.01, 0.2):
        box = Box((images - eps).clamp(min=0).double(), (images + eps).clamp(max=1).double())
        with torch.no_grad():
            bounds = Intervals(traced(net), Propagation()).run(box)
            for number in range(200):
                share = torch.rand(images.shape, generator=source)
                share = share.round() if number % 2 else share
                inside = (box.low + share * (box.high - box.low)).float()
                inside = torch.minimum(torch.maximum(inside, box.low.float()), box.high.float())
                logits = net(inside).double()
                assert (logits >= bounds.low).all()
                assert (logits <= bounds.high).all()
            if eps == 0 and name != "rounded":
                assert (bounds.high - bounds.low).max() < 1e-2


def normed(seed: int) -> nn.Module:
    """Batch norm after convolutions and linear layers, with statistics and scales of both signs."""
    torch.manual_seed(seed)
    net = hb.build("strided_cnn", (1, 8, 8), 3, {"width": 0.1, "batch_norm": True})
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.get_buffer("running_mean").normal_()
            layer.get_buffer("running_var").uniform_(0.5, 2)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return net.eval()


@pytest.mark.parametrize("name", [*NETWORKS, "normed"])
def test_bounds_for_training_are_the_same(name: str) -> None:
    """With batch norm folded into the layer before it; their gradients too."""
    net = copy.deepcopy(normed(0) if name == "normed" else NETWORKS[name]).double()
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules()) == (
        name in ("normed", "residual")
    )
    images = torch.rand(4, 1, *([8, 8] if name == "normed" else [6, 6])).double()
    box = Box((images - 0.1).clamp(min=0), (images + 0.1).clamp(max=1))
    found, gradients = [], []
    for kind in (Intervals, Folded):
        walk = kind(traced(net), EXACT)
        out = walk.run(box)
        net.zero_grad()
        (out.low.square().sum() + out.high.exp().sum()).backward()
        gradients.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
        found.append([end for one in [*walk.rectified, out] for end in (one.low, one.high)])
    assert len(found[0]) > 1
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_an_affine_network_is_bounded_exactly() -> None:
    layer = nn.Linear(5, 3)
    low, high = torch.zeros(1, 5).double(), torch.ones(1, 5).double()
    with torch.no_grad():
        bounds = Intervals(traced(nn.Sequential(layer)), EXACT).run(Box(low, high))
        weight, bias = layer.weight.double(), layer.bias.double()
        torch.testing.assert_close(bounds.low[0], bias + weight.clamp(max=0).sum(1))
        torch.testing.assert_close(bounds.high[0], bias + weight.clamp(min=0).sum(1))


def test_a_linear_classifier_s_margin_is_exact() -> None:
    """min over the box of (w_y − w_j)ᵀx + b_y − b_j, by its corners."""
    torch.manual_seed(3)
    layer = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images, labels = 0.5 + 0.1 * torch.rand(6, 1, 2, 2), torch.arange(6) % 3
    found = hb.IBP().margins(layer, images, labels, hb.LInf(0.1))
    corners = torch.tensor(list(itertools.product([-0.1, 0.1], repeat=4))).reshape(-1, 1, 2, 2)
    with torch.no_grad():
        for image, label, margin in zip(images, labels, found, strict=True):
            logits = layer(image + corners)
            others = logits.clone()
            others[:, label] = -torch.inf
            worst = (logits[:, label] - others.amax(1)).min()
            assert margin <= worst
            assert margin > worst - 1e-4


def test_a_small_relu_network_against_a_fine_grid() -> None:
    """Nothing certified is broken anywhere on a grid of the whole ball; and something is certified."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 2))
    images = torch.rand(80, 1, 1, 2)
    with torch.no_grad():
        labels = net(images).argmax(1)
        certified = hb.IBP()(net, images, labels, hb.LInf(0.05))
        steps = torch.linspace(-0.05, 0.05, 41)
        grid = torch.cartesian_prod(steps, steps).reshape(-1, 1, 1, 2)
        for image, label, proved in zip(images, labels, certified, strict=True):
            around = net((image + grid).clamp(0, 1)).argmax(1)
            assert not proved or bool((around == label).all())
    assert 10 < int(certified.sum()) < 80


def test_behind_a_threshold_only_near_pixels_move() -> None:
    """One pixel decides: certified exactly while it cannot cross ½."""
    net = nn.Sequential(hb.Rounding(), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        net[2].get_parameter("weight").copy_(torch.tensor([[-1.0], [1.0]]))
        net[2].get_parameter("bias").copy_(torch.tensor([0.5, -0.5]))
    images = torch.tensor([0.05, 0.2, 0.8, 0.95])[:, None, None, None]
    labels = torch.tensor([0, 0, 1, 1])
    assert hb.IBP()(net, images, labels, hb.LInf(0.4)).tolist() == [True, False, False, True]
    assert hb.IBP()(net, images, labels, hb.LInf(0.29)).tolist() == [True] * 4


def test_never_above_what_attacks_leave(digits_net: nn.Module, digits: hb.Dataset) -> None:
    some = digits.rows(slice(0, 60))
    attacks = {"pgd": hb.PGD(steps=20)}
    found = hb.evaluate(
        digits_net, some, eps=[0.0, 0.002, 0.01], attacks=attacks, certify={"ibp": hb.IBP()}
    )
    for eps, proved in found.certified.items():
        assert proved.value <= found.worst[eps].value
    assert found.certified[0.0].value > 0.8


def test_more_eps_proves_less() -> None:
    net, images = NETWORKS["digits"], torch.rand(20, 1, 6, 6)
    with torch.no_grad():
        labels = net(images).argmax(1)
    margins = [hb.IBP().margins(net, images, labels, hb.LInf(eps)) for eps in (0, 0.01, 0.1)]
    assert (margins[0] >= margins[1]).all()
    assert (margins[1] >= margins[2]).all()


def test_what_it_does_not_know_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).cos()

    class Branching(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) if images.sum() > 0 else -images.flatten(1)

    images, labels = torch.rand(2, 1, 1, 3), torch.tensor([0, 1])
    for net, said in ((Odd(), "cos"), (Branching(), "trace"), (lambda x: x.flatten(1), "function")):
        with pytest.raises(CannotRun, match=said):
            hb.IBP().margins(net, images, labels, hb.LInf(0.1))
    with pytest.raises(Unsupported, match="l2"):
        hb.IBP()(NETWORKS["dense"], torch.rand(1, 1, 6, 6), labels[:1], hb.L2(0.1))
