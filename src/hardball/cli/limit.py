"""`hardball limit`: the largest ε that a data set allows."""

from pathlib import Path

from rich.console import Console

from hardball.commands.limit import Norm, Part, largest_eps
from hardball.report.tables import limit_table


def limit(
    *,
    data: str = "digits",
    data_root: Path = Path("data"),
    part: Part = "train",
    norm: Norm = "linf",
    eps: list[float] | None = None,
    per: float = 1.0,
    first: int | None = None,
    seconds: float = 60.0,
    out: Path | None = None,
    figures: Path | None = None,
    name: str | None = None,
    note: str | None = None,
) -> int:
    """The largest ε a data set allows, and the robust error it forces on any classifier beyond.

    Two images of different class whose ε-balls meet cannot both be robustly right. Prints the
    closest such pair and, for each ε, how many pairs conflict and the least error they force.

    Args:
        data: a data set: digits, mnist, fashion-mnist, cifar10, folder.
        data_root: where its files are.
        part: train, test, or both together.
        norm: linf, l2 or l0 (which counts features).
        eps: radii, e.g. '[0.3, 0.4]'; by default some around the largest that forces no error.
        per: radii are divided by this: --per 255 --eps '[8, 16]' means 8/255 and 16/255.
        first: use only that many images of each part, from the first.
        seconds: time for the integer programs of one ε; bounds are given where it runs out.
        out: JSON file; the result is added under NAME/PART/NORM, other entries are kept.
        figures: folder for pictures of the curve and of conflicting pairs.
        name: what to call the data in results, if not by --data.
        note: a remark stored with the result, e.g. what else the machine was doing.
    """
    found = largest_eps(
        data=data,
        data_root=data_root,
        part=part,
        norm=norm,
        eps=eps,
        per=per,
        first=first,
        seconds=seconds,
        out=out,
        figures=figures,
        name=name,
        note=note,
    )
    Console().print(limit_table(found))
    return 0
