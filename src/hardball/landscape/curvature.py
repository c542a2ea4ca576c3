"""The largest eigenvalue of the loss's Hessian in the weights, by curvlinops."""

import warnings
from typing import Any

import numpy as np
from torch import nn

from hardball.data import Dataset
from hardball.extras import missing
from hardball.isolation import evaluating
from hardball.seeding import derive


def require_curvlinops() -> Any:
    """The package; asked for before anything long is done.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # deprecations among its own packages
            import curvlinops
    except ImportError as error:
        raise missing("the Hessian (`curvature=true`) needs", "curvlinops") from error
    return curvlinops


def top_eigenvalue(
    model: nn.Module, data: Dataset, *, seed: int = 0, tolerance: float = 1e-3
) -> float:
    """λ_max of ∇²_θ mean ℓ(f_θ(x), y), by Lanczos iterations on Hessian-vector products.

    The examples are constants. With adversarial examples of the present weights this is the Hessian
    of the adversarial loss *at fixed examples*. The loss that training descends, max over x', lies
    above this function of θ everywhere and touches it where the examples were made: how the
    examples move with θ is left out.

    Args:
        model: measured in evaluation mode.
        data: the examples, on the model's device.
        seed: of the first vector.
        tolerance: relative, of the eigenvalue.

    Raises:
        MissingExtra: curvlinops is not installed.
    """
    operators = require_curvlinops()
    from scipy.sparse.linalg import eigsh

    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    # torch's forward mode, which the products use, meets deprecations of its own
    with evaluating(model), warnings.catch_warnings(action="ignore", category=FutureWarning):
        hessian = operators.HessianLinearOperator(
            model,
            nn.CrossEntropyLoss(),
            list(parameters.values()),
            [(data.images, data.labels)],
            check_deterministic=False,
        ).to_scipy()
        first = np.random.default_rng(derive(seed)).standard_normal(hessian.shape[0])
        found = eigsh(
            hessian,
            k=1,
            which="LA",
            v0=first.astype(hessian.dtype),
            tol=tolerance,
            return_eigenvectors=False,
        )
    return float(found[0])
