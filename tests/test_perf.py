"""The fast inner loop computes what the plain one does."""

import copy
import ctypes
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import flat
from hardball import (
    PGD,
    Constant,
    Dataset,
    LInf,
    ThreatModel,
    UserError,
    build,
    evaluate,
    fit,
    protocols,
)
from hardball.models import mnist_cnn
from hardball.perf import (
    Captured,
    NarrowConv2d,
    capture,
    channels_last,
    fast,
    narrow_input_gradient,
    prefer_channels_last,
)

SHAPE = (1, 28, 28)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    channels=st.integers(1, 4),
    out=st.integers(1, 5),
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=pairs,
    batch=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_the_input_gradient_is_the_library_s(
    channels, out, kernel, stride, padding, dilation, batch, seed
):
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, channels, 9, 8, generator=source, dtype=torch.float64)
    weight = torch.randn(out, channels, *kernel, generator=source, dtype=torch.float64)
    images.requires_grad_(True)
    result = F.conv2d(images, weight, None, stride, padding, dilation)
    gradient = torch.randn(result.shape, generator=source, dtype=torch.float64)
    (expected,) = torch.autograd.grad(result, images, gradient)
    found = narrow_input_gradient(gradient, weight, (9, 8), stride, padding, dilation)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def gradients(model, images, labels):
    point = images.clone().requires_grad_(True)
    loss = F.cross_entropy(model(point), labels)
    return torch.autograd.grad(loss, [point, *model.parameters()])


@pytest.fixture
def batch():
    source = torch.Generator().manual_seed(0)
    return torch.rand(16, *SHAPE, generator=source), torch.arange(16) % 10


def test_a_fast_network_has_the_same_outputs_and_gradients(batch):
    torch.manual_seed(0)
    model = build("mnist_cnn", SHAPE, 10)
    plain, outputs = gradients(model, *batch), model(batch[0])
    with fast(model):
        assert type(model.get_submodule("convs.0")) is NarrowConv2d
        # 32 channels: the library is good at it
        assert type(model.get_submodule("convs.1")) is nn.Conv2d
        quick = gradients(model, *batch)
        assert torch.equal(model(batch[0].clone().requires_grad_(True)), outputs)
    # float32 sums of 800 products in another order
    torch.testing.assert_close(quick[0], plain[0], rtol=1e-4, atol=1e-7)
    for ours, theirs in zip(quick[1:], plain[1:], strict=True):
        assert torch.equal(ours, theirs)


def test_the_network_is_as_before_afterwards(batch):
    model = build("mnist_cnn", SHAPE, 10)
    state, hooks = copy.deepcopy(model.state_dict()), []
    model.get_submodule("convs.0").register_forward_hook(lambda *_: hooks.append(1))
    with fast(model):
        model(batch[0])
    with pytest.raises(RuntimeError), fast(model):
        model(batch[0][:, :, :2])
    assert type(model.get_submodule("convs.0")) is nn.Conv2d
    assert hooks
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


class Scaled(nn.Conv2d):
    def forward(self, images):
        return 2 * super().forward(images)


@pytest.mark.parametrize(
    "layer",
    [
        Scaled(1, 4, 3),
        nn.Conv2d(1, 4, 3, padding="same"),
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(8, 4, 3),
    ],
    ids=["a subclass", "padding by name", "another padding mode", "groups", "many channels"],
)
def test_other_convolutions_are_left_alone(layer):
    with fast(layer):
        assert type(layer) is not NarrowConv2d


def test_what_is_no_module_is_left_alone():
    class Plain:
        """A callable that holds a layer, as wrappers of other libraries do."""

        def __init__(self):
            self.layer = nn.Conv2d(1, 4, 3)

        def __call__(self, images):
            return self.layer(images)

    model = Plain()
    before = dict(vars(model))
    images = torch.rand(2, 1, 6, 6)
    expected = model(images)
    with fast(model):
        assert vars(model) == before
        assert type(model.layer) is nn.Conv2d
        assert torch.equal(model(images), expected)
    assert vars(model) == before
    with fast(torch.neg):  # a function, which nothing can be set on
        assert torch.equal(torch.neg(images), -images)


class Viewing(nn.Module):
    """A network as tutorials write it: it works in PyTorch's default layout only."""

    def __init__(self, channels: int = 1, *, norm: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.second = nn.Conv2d(8, 8, 3)
        self.last = nn.Linear(8 * 4 * 4, 4)

    def forward(self, images):
        x = F.relu(self.second(F.relu(self.norm(self.first(images)))))
        return self.last(x.view(-1, 8 * 4 * 4))


class Flattening(Viewing):
    def forward(self, images):
        return self.last(self.second(self.norm(self.first(images))).flatten(1))


def in_layout(model, layout):
    weight = model.second.weight
    return weight.stride() == weight.to(memory_format=layout).stride()


LAYOUTS = pytest.mark.parametrize(
    ("network", "layout"),
    [(Viewing, torch.contiguous_format), (Flattening, torch.channels_last)],
    ids=["a view", "flatten"],
)


@pytest.mark.parametrize("channels", [1, 3])
@LAYOUTS
def test_channels_last_is_taken_where_the_network_works_so(network, layout, channels):
    model, images = network(channels), torch.rand(5, channels, 8, 8)
    plain = model(images)
    assert prefer_channels_last(model, images) == layout
    assert in_layout(model, layout)
    found = model(images.contiguous(memory_format=layout))
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)


def test_images_of_other_shapes_and_other_callables_keep_the_default_layout():
    model = Flattening()
    assert prefer_channels_last(model, torch.rand(5, 64)) == torch.contiguous_format
    assert in_layout(model, torch.contiguous_format)
    assert prefer_channels_last(lambda x: x, torch.rand(5, 1, 8, 8)) == torch.contiguous_format


def test_a_network_that_nothing_works_on_is_left_for_its_own_error():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(7, 10))
    assert prefer_channels_last(model, torch.rand(2, 1, 8, 8)) == torch.contiguous_format
    with (
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
        channels_last(model, torch.rand(2, 1, 8, 8)),
    ):
        model(torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("kernel", "stride", "channels", "layout"),
    [
        (1, 2, 4, torch.contiguous_format),  # as the shortcut of a narrow residual network
        (1, 2, 16, torch.channels_last),
        (1, 1, 4, torch.channels_last),
        (3, 2, 4, torch.channels_last),
    ],
)
def test_where_weight_gradients_would_damage_memory_the_default_layout_is_kept(
    kernel, stride, channels, layout
):
    model = nn.Sequential(nn.Conv2d(channels, 8, kernel, stride), nn.Flatten())
    images = torch.rand(64, channels, 16, 16)
    assert prefer_channels_last(model, images) == layout
    for _ in range(20):  # where it did, the process ended here
        model(images.contiguous(memory_format=layout)).sum().backward()


@LAYOUTS
def test_trying_a_layout_leaves_nothing_behind(network, layout):
    class Drawing(network):  # type: ignore[valid-type, misc]
        def forward(self, images):
            return super().forward(images + 0.1 * torch.rand_like(images))

    model = Drawing(norm=True)
    before, memory = copy.deepcopy(model.state_dict()), [p.data_ptr() for p in model.parameters()]
    drawn = torch.random.get_rng_state()
    with channels_last(model, torch.rand(2, 1, 8, 8, generator=torch.Generator())):
        assert torch.equal(torch.random.get_rng_state(), drawn)
        assert in_layout(model, layout)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [p.data_ptr() for p in model.parameters()] == memory
    assert in_layout(model, torch.contiguous_format)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_layout_is_back_after_an_error():
    model = Flattening()
    with pytest.raises(RuntimeError), channels_last(model, torch.rand(2, 1, 8, 8)):
        model(torch.rand(2, 1, 9, 9))
    assert in_layout(model, torch.contiguous_format)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_views_its_activations_is_trained_and_evaluated(channels):
    source = torch.Generator().manual_seed(0)
    images = torch.rand(40, channels, 8, 8, generator=source)
    data = Dataset(name="squares", images=images, labels=torch.arange(40) % 4, classes=4)
    model = Viewing(channels)
    fit(
        model,
        data,
        curriculum=Constant(0.05, 1),
        settings=flat.settings(steps=2, batch_size=16, validation=8, carry=True, average=0.5),
    )
    # every family of attacks: their iterates and gradients come in the layouts they come in
    attacks = {**protocols.strong, **protocols.autoattack}
    assert evaluate(model, data.rows(slice(0, 8)), eps=0.1, attacks=attacks).clean.n == 8


@pytest.mark.parametrize(
    "use",
    [
        lambda model, data: fit(model, data, curriculum=Constant(0.1, 1)),
        lambda model, data: evaluate(model, data, eps=0.1, attacks=protocols.quick),
    ],
    ids=["fit", "evaluate"],
)
def test_a_network_that_changes_its_images_in_place_is_refused_and_spoils_none(use):
    class Subtracting(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = Viewing()

        def forward(self, images):
            images -= 0.5
            return self.body(images)

    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = Dataset(name="squares", images=images.clone(), labels=torch.arange(20) % 4, classes=4)
    with pytest.raises(UserError, match="changes its images in place"):
        use(Subtracting(), data)
    assert torch.equal(data.images, images)


def test_an_attack_finds_the_same_examples(batch):
    torch.manual_seed(0)
    model, attack = build("mnist_cnn", SHAPE, 10), PGD(steps=10, keep="last", random_start=False)
    images, labels = batch
    plain = attack(model, images, labels, LInf(0.1))
    with fast(model):
        quick = attack(model, images, labels, LInf(0.1))
    # a sign may turn where a gradient is at rounding; the loss hardly notices
    torch.testing.assert_close(quick.loss, plain.loss, rtol=1e-4, atol=1e-4)
    assert torch.equal(quick.fooled, plain.fooled)


def test_mixed_precision_works(batch):
    model = build("mnist_cnn", SHAPE, 10)
    (plain, *_) = gradients(model, *batch)
    with fast(model), torch.autocast("cpu", dtype=torch.bfloat16):
        (quick, *_) = gradients(model, *batch)
    assert quick.dtype == torch.float32
    # bfloat16 has 8 bits; the direction is what matters
    assert F.cosine_similarity(quick.flatten(), plain.flatten(), dim=0) > 0.95


@pytest.fixture
def traced(monkeypatch):
    """Graphs are traced and run as they are: what a GPU's compiler would be given."""
    monkeypatch.setattr(capture, "BACKEND", "aot_eager")


@pytest.mark.usefixtures("traced")
def test_a_captured_network_gives_the_same_attack_and_no_parameter_gradient(batch):
    torch.manual_seed(0)
    model, attack = build("mnist_cnn", SHAPE, 10), PGD(steps=3, random_start=False)
    captured = Captured(model)
    threat = LInf(0.2)
    images, labels = batch
    plain = attack.perturb(model, images, labels, threat)
    assert torch.equal(attack.perturb(captured, images, labels, threat), plain)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)  # as an update would: the next attack is on the new weights
    plain = attack.perturb(model, images, labels, threat)
    assert torch.equal(attack.perturb(captured, images, labels, threat), plain)
    point = images.clone().requires_grad_(True)
    assert captured(point).sum().requires_grad
    captured(point).sum().backward()
    assert all(p.grad is None for p in model.parameters())


def test_the_training_attack_waits_for_no_value():
    """On tensors without values reading one is an error: what would make a GPU wait."""
    with FakeTensorMode() as without_values:
        model = mnist_cnn(SHAPE, 10)
        images, labels = torch.rand(4, *SHAPE), torch.zeros(4, dtype=torch.int64)
        with pytest.raises(RuntimeError, match="local_scalar_dense"):
            bool(images.sum() > 0)
    for threat in (LInf(0.3), ThreatModel("l2", 3), ThreatModel("l0", 3)):
        with without_values:
            moved = PGD(steps=2).perturb(model, images, labels, threat, start=images)
        assert moved.shape == images.shape


@pytest.mark.usefixtures("traced")
def test_training_with_a_captured_attack_ends_with_the_same_weights(digits):
    def weights(**settings):
        torch.manual_seed(0)
        model = build("digits_cnn", (1, 8, 8), 10, {"width": 4})
        fit(
            model,
            digits,
            curriculum=Constant(0.1, epochs=1),
            settings=flat.settings(steps=2, accelerator="cpu", **settings),
        )
        return model.state_dict()

    plain, captured = weights(), weights(compile=True)
    for name, value in plain.items():
        torch.testing.assert_close(captured[name], value)


def test_tf32_is_asked_for_during_training_only(digits):
    seen = []

    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = build("digits_cnn", (1, 8, 8), 10, {"width": 4})

        def forward(self, images):
            seen.append(torch.get_float32_matmul_precision())
            return self.inner(images)

    before = torch.get_float32_matmul_precision()
    fit(
        Looking(),
        digits.rows(slice(0, 200)),
        curriculum=Constant(0.1, epochs=1),
        settings=flat.settings(steps=1, accelerator="cpu", precision="tf32"),
    )
    assert "high" in seen
    assert torch.get_float32_matmul_precision() == before


FAULTS = """
import resource, torch
from hardball.perf import keep_memory

kept = keep_memory() if {kept} else None
def work():
    for _ in range(20):
        [torch.ones(2**20 * n) for n in range(1, 11)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept, **environment):
    """Whether memory is kept, and the page faults of taking 220 MiB in ten tensors, twenty times."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC", "GLIBC", "LD_PRE"))}
    found = subprocess.run(
        [sys.executable, "-c", FAULTS.format(kept=kept)],
        capture_output=True,
        text=True,
        env=plain | environment,
        check=True,
    )
    answer, count = found.stdout.split()
    return answer, int(count)


def glibc():
    return sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.mark.skipif(not glibc(), reason="the allocator of Linux's C library")
def test_kept_memory_is_not_fetched_again_from_the_system():
    answer, kept = faults(True)
    assert answer == "True"
    assert kept * 20 < faults(False)[1]


def test_an_allocator_chosen_by_the_environment_is_left_alone():
    assert faults(True, MALLOC_ARENA_MAX="4")[0] == "False"
