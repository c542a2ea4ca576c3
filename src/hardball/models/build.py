"""A model by name: one of `MODELS`, or the user's own "package.module:Class"."""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from hardball.errors import UserError, unknown
from hardball.isolation import evaluating
from hardball.models.networks import MODELS
from hardball.validation import logits_of_copy


def build(
    name: str, shape: Sequence[int], classes: int, args: dict[str, Any] | None = None
) -> nn.Module:
    """A freshly initialised model.

    Args:
        name: a key of `MODELS`, or "package.module:Class" of an importable class or function (the
            current directory counts), which is called with `args` alone.
        shape: [C, H, W] of the images.
        classes: K.
        args: keyword arguments of the model.

    Raises:
        UserError: nothing of that name, arguments it does not take, or logits that are no [B, K].
    """
    args = args or {}
    if ":" in name:
        made = _call(name, _imported(name), args)
    elif name in MODELS:
        made = _call(name, lambda **kw: MODELS[name](shape, classes, **kw), args)
    else:
        raise unknown("model", name, [*MODELS, "your.module:Class"])
    if not isinstance(made, nn.Module):
        raise UserError(f"{name} made a {type(made).__name__}; allowed is a torch.nn.Module")
    _try_out(name, made, shape, classes)
    return made


def _imported(name: str) -> Callable[..., object]:
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, TypeError) as error:  # the last two: no or a relative name
        raise UserError(
            f"model {name!r}: {error}; name an importable module, e.g. mynet:Net"
        ) from error
    except AttributeError as error:
        raise UserError(
            f"model {name!r}: {module} has no {attribute!r}; check the spelling"
        ) from error
    if not callable(found):
        raise UserError(f"model {name!r} is a {type(found).__name__}; name a class or a function")
    return found  # type: ignore[no-any-return]


def _call(name: str, maker: Callable[..., object], args: dict[str, Any]) -> object:
    try:
        return maker(**args)
    except TypeError as error:
        raise UserError(f"model {name} with {args}: {error}; change model_args") from error


def _try_out(name: str, model: nn.Module, shape: Sequence[int], classes: int) -> None:
    """One forward pass on grey images, in evaluation mode, to meet a wrong shape before training."""
    try:
        with evaluating(model), torch.no_grad():
            found = logits_of_copy(model, torch.full((2, *shape), 0.5)).shape[1]
    except UserError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"model {name} on images {list(shape)}: {reason}; fix model_args"
        ) from error
    if found != classes:
        raise UserError(
            f"model {name} has {found} outputs for {classes} classes; set its number of classes in "
            "model_args"
        )
