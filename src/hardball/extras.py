"""Packages that only some features need, by the extra that brings them: pip install 'hardball[NAME]'."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from hardball.errors import MissingExtra

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "app": ("gradio",),
    "attacks": ("art", "foolbox", "pyautoattack"),
    "explain": ("captum",),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "frames": ("pandas",),
    "landscape": ("curvlinops",),
    "ray": ("ray",),
    "report": ("jinja2", "matplotlib", "tensorboard"),
    "theory": ("networkx", "numba"),
    "timm": ("timm",),
}
"""extra → the packages of it that hardball imports, as they are imported."""


def installed(package: str) -> bool:
    """The package can be found; nothing is imported."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def missing(who: str, package: str) -> MissingExtra:
    """The error for a package of an extra.

    Args:
        who: the beginning of a sentence with its verb: "the demo needs".
        package: as it is imported.
    """
    extra = next(name for name, packages in EXTRAS.items() if package in packages)
    return MissingExtra(f"{who} {package}: pip install 'hardball[{extra}]'")


def require(who: str, *packages: str) -> None:
    """Ask for packages before anything long is done.

    Raises:
        MissingExtra: the first of them that is not installed.
    """
    for package in packages:
        if not installed(package):
            raise missing(who, package)


def frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """A pandas.DataFrame of these columns, also where there is no row.

    Raises:
        MissingExtra: pandas is not installed.
    """
    require("a DataFrame needs", "pandas")
    from pandas import DataFrame

    return DataFrame(rows, columns=list(columns))
