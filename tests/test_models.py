"""Networks: their shapes, their equivalences, and the refusal of what cannot work."""

import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import ResNet

from hardball import Normalize, UserError, build
from hardball.errors import Untrusted
from hardball.models import MODELS

SHAPES = {"mnist_cnn": (1, 28, 28), "digits_cnn": (1, 8, 8)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("classes", [2, 10])
def test_every_model_maps_images_to_logits_with_a_gradient(name, classes):
    shape = SHAPES.get(name, (3, 16, 16))
    model = build(name, shape, classes).eval()
    images = torch.rand(2, *shape, requires_grad=True)
    logits = model(images)
    assert logits.shape == (2, classes)
    logits.square().sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert images.grad.any()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_building_leaves_no_trace_in_the_model(name):
    """The trial pass that looks for a wrong shape must not feed batch norm or switch modes."""
    model = build(name, SHAPES.get(name, (3, 16, 16)), 10)
    assert all(module.training for module in model.modules())
    counters = [b for n, b in model.named_buffers() if n.endswith("num_batches_tracked")]
    assert not any(counters)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_mnist_cnn_is_the_papers():
    model = build("mnist_cnn", (1, 28, 28), 10)
    convolutions = (25 + 1) * 32 + (25 * 32 + 1) * 64
    assert parameters(model) == convolutions + (4 * 4 * 64 + 1) * 1024 + 1025 * 10 == 1_111_946


def test_the_networks_of_certified_training():
    """Parameters by hand; no pooling, so the size halves by strides alone."""
    small = 32 * (9 + 1) + 32 * (32 * 16 + 1) + 64 * (32 * 9 + 1) + 64 * (64 * 16 + 1)
    head = 512 * (7 * 7 * 64 + 1) + 10 * 513
    assert parameters(build("strided_cnn", (1, 28, 28), 10)) == small + head
    normed = build("strided_cnn", (1, 28, 28), 10, {"batch_norm": True})
    assert parameters(normed) == small + head + 2 * (2 * 32 + 2 * 64 + 512)
    wide = build("strided_cnn", (1, 28, 28), 10, {"width": 2})
    assert [layer.out_channels for layer in wide.modules() if isinstance(layer, nn.Conv2d)] == [
        64,
        64,
        128,
        128,
    ]
    seven = 64 * 10 + 64 * (64 * 9 + 1) + 128 * (64 * 9 + 1) + 2 * 128 * (128 * 9 + 1)
    head = 512 * (14 * 14 * 128 + 1) + 10 * 513
    assert parameters(build("cnn7", (1, 28, 28), 10)) == seven + head
    norms = 2 * (64 + 64 + 3 * 128 + 512)
    assert parameters(build("cnn7", (1, 28, 28), 10, {"batch_norm": True})) == seven + head + norms
    with pytest.raises(UserError, match=r"images of \[1, 1, 1\] are too small for this network"):
        build("strided_cnn", (1, 1, 1), 10)
    with pytest.raises(UserError, match=r"`width=0.001`; allowed is 1/32 or more"):
        build("strided_cnn", (1, 8, 8), 10, {"width": 0.001})


def test_padded_form_is_the_tutorials():
    model = build("mnist_cnn", (1, 28, 28), 10, {"padding": True})
    convolutions = (25 + 1) * 32 + (25 * 32 + 1) * 64
    assert parameters(model) == convolutions + (7 * 7 * 64 + 1) * 1024 + 1025 * 10
    first = model.get_submodule("convs.0")
    assert first(torch.zeros(1, 1, 28, 28)).shape[-2:] == (28, 28)


@pytest.mark.parametrize(
    ("name", "args"), [("mnist_cnn", {}), ("mnist_cnn", {"padding": True}), ("digits_cnn", {})]
)
def test_pooling_before_relu_equals_relu_before_pooling(name, args):
    model = build(name, SHAPES[name], 10, args)
    hidden, logits = model.get_submodule("hidden"), model.get_submodule("logits")
    images = torch.rand(3, *SHAPES[name])
    x = images
    for conv in model.get_submodule("convs").children():
        x = F.max_pool2d(F.relu(conv(x)), 2)
    assert torch.equal(model(images), logits(F.relu(hidden(x.flatten(1)))))


@pytest.mark.parametrize(("name", "millions"), [("resnet18", 11.17), ("resnet50", 23.52)])
def test_resnets_have_the_cifar_stem(name, millions):
    model = build(name, (3, 32, 32), 10)
    normalize, net = model.children()
    assert isinstance(net, ResNet)
    assert round(parameters(model) / 1e6, 2) == millions
    with torch.no_grad():
        images = torch.rand(2, 3, 32, 32)
        assert net.maxpool(net.relu(net.bn1(net.conv1(images)))).shape == (2, 64, 32, 32)
    assert isinstance(normalize, Normalize)


def test_normalize_is_affine_per_channel():
    images = torch.rand(2, 3, 4, 4)
    found = Normalize([0.1, 0.2, 0.3], [1.0, 2.0, 4.0])(images)
    for channel, (mean, std) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)]):
        torch.testing.assert_close(found[:, channel], (images[:, channel] - mean) / std)


THEIRS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Linear(width, classes))
    def forward(self, images):
        return self.body(images)

def function(width) -> Net:
    return Net(width)

def quoted(width) -> "nn.Module":
    return Net(width)

def text() -> nn.Module:
    return "a network"

called = []

def secret(**args):
    called.append(args)
    return Net()

def words(width) -> str:
    called.append(width)

def unresolved(width) -> "Nowhere":
    called.append(width)

def either(width) -> "Net | None":
    called.append(width)

class Plain:
    def __init__(self):
        called.append("Plain")

class Maker:
    def __call__(self, width) -> nn.Module:
        called.append(width)
maker = Maker()

class Pair(Net):
    def forward(self, images):
        return self.body(images), images

class Maps(nn.Module):
    def forward(self, images):
        return images

class InPlace(Net):
    def forward(self, images):
        return super().forward(images.sub_(0.1))

number = 7
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A user's own module, importable as `theirs.nets`."""
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield
    for name in [n for n in sys.modules if n.split(".")[0] == "theirs"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["Net", "function", "quoted"])
@pytest.mark.usefixtures("theirs")
def test_a_users_own_class_or_function_is_built_from_the_current_directory(name):
    model = build(f"theirs.nets:{name}", (1, 4, 4), 3, {"width": 7})
    assert isinstance(model, nn.Module)
    assert model.get_submodule("body.1").out_features == 7


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("vgg", {}, r"unknown model 'vgg'; there are: .*mnist_cnn.*your.module:Model"),
        ("nowhere.nets:Net", {}, r"'nowhere.nets:Net'.*nowhere.*importable"),
        ("theirs.nets:Nett", {}, r"theirs.nets has no 'Nett'; check the spelling"),
        ("theirs.nets:", {}, r"theirs.nets has no ''; check the spelling"),
        (":Net", {}, r"':Net'.*importable module"),
        ("..nets:Net", {}, r"'..nets:Net'.*importable module"),
        ("theirs.nets:number", {}, r"is a int; name a class derived from torch.nn.Module"),
        ("theirs.nets:text", {}, r"made a str; allowed is a torch.nn.Module"),
        ("theirs.nets:Net", {"depth": 3}, r"\{'depth': 3\}.*`model_args`"),
        ("theirs.nets:function", {}, r"width.*`model_args`"),
        ("theirs.nets:Net", {"classes": 5}, r"5 outputs for 3 classes.*`model_args`"),
        ("theirs.nets:Pair", {}, r"returned tuple; allowed is a tensor of logits"),
        ("theirs.nets:Maps", {}, r"shape \[2, 1, 4, 4\].*\[B, classes\]"),
        ("theirs.nets:InPlace", {}, r"the model changes its images in place.*x = x - mean"),
        ("digits_cnn", {"widht": 3}, r"widht.*`model_args`"),
        ("mnist_cnn", {}, r"\[1, 4, 4\] are too small.*digits_cnn"),
        ("resnet18", {}, r"3 channels for images of 1.*pass both in `model_args`"),
        ("resnet18", {"mean": [0.5], "std": [0.0]}, r"std=\[0.0\].*std > 0"),
        ("resnet18", {"mean": [0.5], "std": [0.1, 0.2]}, r"std=\[0.1, 0.2\].*per channel"),
        ("resnet18", {"depth": 34}, r"depth.*`model_args`"),
    ],
)
@pytest.mark.usefixtures("theirs")
def test_refusals_name_the_value_and_the_cure(name, args, message):
    with pytest.raises(UserError, match=message):
        build(name, (1, 4, 4), 3, args)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("secret", r"annotate its return type \(-> nn.Module\), or name a class"),
        ("words", r"annotate its return type"),
        ("unresolved", r"annotate its return type"),
        ("either", r"annotate its return type"),
        ("maker", r"annotate its return type"),
        ("Plain", r"a class that does not derive from torch.nn.Module"),
    ],
)
@pytest.mark.usefixtures("theirs")
def test_what_makes_no_module_is_refused_without_being_called(name, message):
    with pytest.raises(UserError, match=message):
        build(f"theirs.nets:{name}", (1, 4, 4), 3)
    assert sys.modules["theirs.nets"].called == []


def test_a_command_of_the_system_is_no_model(tmp_path):
    planted = tmp_path / "planted"
    with pytest.raises(UserError, match="annotate its return type"):
        build("os:system", (1, 4, 4), 3, {"command": f"touch {planted}"})
    assert not planted.exists()


@pytest.mark.usefixtures("theirs")
def test_what_a_file_names_is_refused_before_it_is_imported():
    with pytest.raises(Untrusted, match=r"'theirs.nets:Net'.*nothing was imported"):
        build("theirs.nets:Net", (1, 4, 4), 3, trust=False)
    assert "theirs" not in sys.modules
    assert isinstance(build("digits_cnn", (1, 4, 4), 3, {"width": 2}, trust=False), nn.Module)


def test_an_annotated_function_of_another_library_is_taken():
    model = build("torchvision.models:resnet18", (3, 32, 32), 7, {"num_classes": 7})
    assert model.get_submodule("fc").out_features == 7


@pytest.mark.parametrize("name", ["digits_cnn", "theirs.nets:Net"])
@pytest.mark.usefixtures("theirs")
def test_an_argument_may_have_any_name(name):
    """Also one that `build` itself uses."""
    with pytest.raises(UserError, match=r"'name'.*change `model_args`"):
        build(name, (1, 4, 4), 3, {"name": 1})


@pytest.mark.usefixtures("theirs")
def test_a_model_for_other_images_is_refused_before_training():
    with pytest.raises(UserError, match=re.escape("on images [1, 5, 5]") + ".*fix `model_args`"):
        build("theirs.nets:Net", (1, 5, 5), 3)


@pytest.mark.parametrize("shape", [(1, 3, 3), (1, 8, 2)])
def test_images_too_small_for_any_network_are_told_the_smallest(shape):
    with pytest.raises(UserError, match=r"too small for this network.*4×4 pixels or more"):
        build("digits_cnn", shape, 3)
    assert build("digits_cnn", (1, 4, 4), 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", r"SyntaxError: .* \(broken\.py, line 1\)"),
        (
            "import torch\nundefined",
            r"NameError: name 'undefined' is not defined \(broken\.py, line 2",
        ),
        ("raise AttributeError('no weights')", r"AttributeError: no weights \(broken\.py, line 1"),
        ("1 / 0", r"ZeroDivisionError: .* line 1\); correct it"),
    ],
)
def test_a_module_that_cannot_be_imported_is_a_users_mistake(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=said):
        build("broken:Net", (1, 8, 8), 10)
