"""Attacks by name."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardball.attacks import PGD, BehindFront, DecayingPGD, Targeted
from hardball.errors import UserError
from hardball.evaluation import protocols


def test_a_name_says_what_the_table_says() -> None:
    same = [name for name in protocols.ATTACKS if protocols.pgd(name) is not None]
    assert {"pgd-100-x10", "targeted-pgd-20"} <= {*same}
    for name in same:
        assert protocols.pgd(name) == protocols.ATTACKS[name]


@given(
    steps=st.integers(1, 10**6),
    restarts=st.integers(1, 99),
    size=st.none() | st.floats(1e-6, 1e6),
    loss=st.sampled_from(["cross_entropy", "margin", "dlr"]),
    direction=st.sampled_from(["steepest", "signed", "raw", "l2"]),
    decay=st.booleans(),
    targeted=st.booleans(),
    front=st.booleans(),
)
def test_every_pgd_has_a_name(
    steps: int,
    restarts: int,
    size: float | None,
    loss: str,
    direction: str,
    decay: bool,
    targeted: bool,
    front: bool,
) -> None:
    words = ["front"] * front + ["targeted-pgd" if targeted else "pgd"]
    words += [loss] * (loss != "cross_entropy") + [direction] * (direction != "steepest")
    words += ["decay"] * decay + [str(steps)] + [f"x{restarts}"] * (restarts > 1)
    name = "-".join(words) + ("" if size is None else f"@{size!r}")
    kind = partial(DecayingPGD, leap=True) if decay else PGD
    plain = kind(steps=steps, restarts=restarts, step_size=size, loss=loss, direction=direction)
    found = protocols.named([name])[name]
    wanted = Targeted(attack=plain) if targeted else plain
    assert found == (BehindFront(attack=wanted) if front else wanted)


@pytest.mark.parametrize("name", ["pgd", "pgd-0", "pgd-20x5", "pgd-x5-20", "pgd-20-", "PGD-20"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=name):
        protocols.named([name])


@pytest.mark.parametrize("size", ["0", "-1", "..", "1e999"])
def test_a_step_size_is_a_positive_number(size: str) -> None:
    with pytest.raises(UserError, match=r"step.size"):
        protocols.named([f"pgd-5@{size}"])
