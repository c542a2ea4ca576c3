"""A network as one file that runs without hardball: a torch.export program, or ONNX.

Shapes: B images (any number, also in the file), K classes; images [B, C, H, W], logits [B, K].
"""

import copy
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hardball import extras, storage
from hardball.errors import Contradiction, Unsupported, UserError, unknown
from hardball.evaluation.forward import accepting
from hardball.validation import logits_of_copy, validate_images

Format = Literal["torch-export", "onnx"]

ROUNDING = 1e-4
"""Largest difference between logits that is taken for rounding, as a share of the largest |logit| (or
of 1, if that is larger). Other programs sum in another order."""

IMAGES, LOGITS, BATCH = "images", "logits", "batch"
"""Names in an ONNX file: the input, the output, and the dimension of any size."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What `export` wrote, and how it compares with the network."""

    path: Path
    format: Format
    opset: int | None
    """Of an ONNX file."""
    sha256: str
    """Digest of the file."""
    shape: tuple[int, ...]
    """[C, H, W] of the images that it takes, float32 in [0, 1]."""
    classes: int
    n: int
    """Images that both were compared on."""
    compared: bool
    """False where nothing is installed that can run the file."""
    difference: float | None
    """Largest absolute difference between the logits."""
    same_predictions: int | None
    """Images for which both predict the same class."""

    def as_json(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return asdict(self) | {"path": str(self.path), "shape": list(self.shape)}

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        if not self.compared:
            return "not compared with the network: onnxruntime is not installed"
        return (
            f"loaded again and compared on {self.n} images: {self.same_predictions} predictions are "
            f"equal, the logits differ by at most {self.difference:.2g}"
        )


def export(model: nn.Module, out: Path | str, *, images: Tensor, format: Format) -> Exported:
    """Write a network as a program for other software, load it again, and compare both.

    All of the model is in the file, normalisation and fronts included: it takes float32 images
    [B, C, H, W] in [0, 1], any number of them, and returns logits [B, K]. The model is left as it was.

    Args:
        model: images in [0, 1] → logits.
        out: the file; ".pt2" and ".onnx" are usual.
        images: [B, C, H, W] in [0, 1]: their shape is that of the file's input, and the logits are
            compared on them.
        format: "torch-export" (read by `torch.export.load`) or "onnx".

    Raises:
        UserError: a file that exists, no images, an unknown format, a model that returns no logits.
        MissingExtra: packages for ONNX are not installed.
        Unsupported: the model cannot be exported.
        Contradiction: the file's logits are not the model's; it is removed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = folder + "/digits.pt2"
        ...     found = hb.export(model, path, images=test.images, format="torch-export")
        ...     logits = torch.export.load(path).module()(test.images[:3])
        >>> found.same_predictions, logits.shape
        (20, torch.Size([3, 10]))
    """
    out = Path(out)
    refuse(out, format)
    validate_images(images)
    if images.dim() != 4 or not len(images):
        raise UserError(f"images of shape {list(images.shape)}; allowed is [B, C, H, W], B ≥ 1")
    # as a copy on the CPU: a file with tensors of a GPU is of no use without one
    whole = copy.deepcopy(model).cpu().eval()
    network: Any = accepting(whole, torch.float32)
    images = images.detach().cpu().float()
    with torch.no_grad():
        own = logits_of_copy(network, images)
        content, opset = WRITERS[format](network, images)
    storage.write_atomically(out, content)
    found = READERS[format](storage.read_bytes(out, "exported network"), images)
    difference = None if found is None else _difference(out, own, found)
    return Exported(
        path=out,
        format=format,
        opset=opset,
        sha256=storage.digest(content),
        shape=tuple(images.shape[1:]),
        classes=own.shape[1],
        n=len(images),
        compared=found is not None,
        difference=difference,
        same_predictions=None if found is None else int((own.argmax(1) == found.argmax(1)).sum()),
    )


def refuse(out: Path, format: str) -> None:
    """What can be known before anything is loaded.

    Raises:
        UserError: an unknown format, or a file that exists.
        MissingExtra: packages for ONNX are not installed.
    """
    if format not in WRITERS:
        raise unknown("format", format, WRITERS)
    if out.exists():
        raise UserError(f"`out={out}` exists; name a file that does not")
    if format == "onnx":
        extras.require("ONNX needs", "onnx", "onnxscript")


def _difference(out: Path, own: Tensor, found: Tensor) -> float:
    """The largest difference between logits.

    Raises:
        Contradiction: it is more than rounding.
    """
    largest = float((own - found).abs().max())
    allowed = ROUNDING * max(1.0, float(own.abs().max()))
    if not largest <= allowed:  # also where it is no number
        out.unlink()
        raise Contradiction(
            f"the logits of the exported file differ from the model's by {largest:.2g}; allowed is "
            f"{allowed:.2g}, so the file was removed: does the model draw random numbers, or change "
            "from call to call?"
        )
    return largest


def _program(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    # two images: a batch of one would be taken for a constant
    example = images[:2].expand(2, *images.shape[1:]).clone()
    any_number = ({0: torch.export.Dim(BATCH, min=1)},)
    return torch.export.export(network, (example,), dynamic_shapes=any_number)


def _exported(format: Format, make: Callable[[], Any]) -> Any:
    """What `make` returns.

    Raises:
        Unsupported: it ends in an error.
    """
    try:
        return make()
    except Exception as error:  # tracing raises errors of many kinds, the model's own among them
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines or [type(error).__name__])[0][:200]
        raise Unsupported(
            f"the model cannot be exported as {format}: {reason} (the forward pass must not depend on "
            "the values of the images, nor on how many there are)"
        ) from error


def _write_program(network: nn.Module, images: Tensor) -> tuple[bytes, None]:
    def make() -> bytes:
        content = io.BytesIO()
        torch.export.save(_program(network, images), content)
        return content.getvalue()

    return _exported("torch-export", make), None


def _write_onnx(network: nn.Module, images: Tensor) -> tuple[bytes, int]:
    def make() -> tuple[bytes, int]:
        # from a program: of a module, torch.onnx tries weaker ways of tracing, which may fix the batch
        found = torch.onnx.export(
            _program(network, images),
            dynamo=True,
            verbose=False,
            input_names=[IMAGES],
            output_names=[LOGITS],
        )
        if found is None:
            raise RuntimeError("torch.onnx.export returned nothing")
        proto = found.model_proto
        _name_batch(proto.graph)
        return proto.SerializeToString(), int(found.model.opset_imports[""])

    made: tuple[bytes, int] = _exported("onnx", make)
    return made


def _name_batch(graph: Any) -> None:
    """Give the dimension of any size its name, in place of the tracer's symbol (s31)."""
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.value_info, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == symbol:
                size.dim_param = BATCH


def _run_program(content: bytes, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = torch.export.load(io.BytesIO(content)).module()(images)
    return found


def _run_onnx(content: bytes, images: Tensor) -> Tensor | None:
    """The logits by onnxruntime; None where it is not installed."""
    if not extras.installed("onnxruntime"):
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run([LOGITS], {IMAGES: images.numpy()})
    return torch.from_numpy(logits)


WRITERS: Mapping[str, Callable[[nn.Module, Tensor], tuple[bytes, int | None]]] = {
    "torch-export": _write_program,
    "onnx": _write_onnx,
}
"""format → the file's content, and its opset if it has one."""

READERS: Mapping[str, Callable[[bytes, Tensor], Tensor | None]] = {
    "torch-export": _run_program,
    "onnx": _run_onnx,
}
"""format → the logits of a file's content; None where nothing here can run it."""
