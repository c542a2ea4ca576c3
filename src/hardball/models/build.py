"""A model by name: one of `MODELS`, or the user's own "package.module:Class"."""

from collections.abc import Sequence
from typing import Any, get_type_hints

import torch
from torch import nn

from hardball import names
from hardball.errors import UserError
from hardball.isolation import evaluating
from hardball.models.fronts import with_front
from hardball.models.networks import MODELS
from hardball.validation import logits_of_copy


def build(
    name: str,
    shape: Sequence[int],
    classes: int,
    args: dict[str, Any] | None = None,
    *,
    front: str | None = None,
    front_args: dict[str, Any] | None = None,
    trust: bool = True,
) -> nn.Module:
    """A freshly initialised model.

    Args:
        name: a key of `MODELS`, or "package.module:Class" of an importable class derived from
            nn.Module (the current directory counts), which is called with `args` alone. A function
            whose return type is annotated as such a class will do as well.
        shape: [C, H, W] of the images.
        classes: K.
        args: keyword arguments of the model.
        front: a key of `FRONTS`: what its images pass first.
        front_args: keyword arguments of the front.
        trust: False where a file names the model, and not the user: then code outside hardball is
            refused before it is imported.

    Raises:
        UserError: nothing of that name, something that makes no nn.Module, arguments it does not
            take, or logits that are no [B, K].
        Untrusted: code outside hardball, without `trust`.

    Example:
        >>> network = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})
        >>> network(test.images).shape
        torch.Size([20, 10])
    """
    found: Any = names.find("model", name, MODELS, trusted=trust)
    if names.is_own(name):
        _refuse_what_makes_no_module(name, found)
        made = _call(name, found, args or {})
    else:
        names.check_types(f"model {name}", get_type_hints(found), args or {})
        made = _call(name, found, args or {}, shape, classes)
    if not isinstance(made, nn.Module):
        raise UserError(f"{name} made a {type(made).__name__}; allowed is a torch.nn.Module")
    if front is not None:
        made = with_front(made, front, front_args)
    _try_out(name, made, shape, classes)
    return made


def _refuse_what_makes_no_module(name: str, found: object) -> None:
    """Asked before anything is called: what a name refers to might do anything (os:system)."""
    kind = found if isinstance(found, type) else _return_type(found)
    if isinstance(kind, type) and issubclass(kind, nn.Module):
        return
    if isinstance(found, type):
        raise UserError(
            f"model {name!r} is a class that does not derive from torch.nn.Module; derive it, or name "
            "another class"
        )
    if callable(found):
        raise UserError(
            f"model {name!r} is a function that may return anything; annotate its return type "
            "(-> nn.Module), or name a class derived from torch.nn.Module"
        )
    raise UserError(
        f"model {name!r} is a {type(found).__name__}; name a class derived from torch.nn.Module"
    )


def _return_type(function: object) -> object:
    """The annotated return type of a function; None if it cannot be known."""
    try:
        return get_type_hints(function).get("return")
    except (TypeError, NameError, AttributeError):  # no function, or names that do not resolve
        return None


def _call(name: str, maker: Any, args: dict[str, Any], *positional: object) -> object:
    try:
        return maker(*positional, **args)
    except UserError:
        raise
    except (TypeError, ValueError, IndexError, RuntimeError, OverflowError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise UserError(f"model {name} with {args}: {reason}; change `model_args`") from error


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
            f"model {name} on images {list(shape)}: {reason}; fix `model_args`"
        ) from error
    if found != classes:
        raise UserError(
            f"model {name} has {found} outputs for {classes} classes; set its number of classes in "
            "`model_args`"
        )
