"""Results of `hardball theory` and `hardball limit` as sections of a page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardball.errors import Damaged, UserError
from hardball.report import theory_tables
from hardball.report.blocks import Chart, Level, Line, Picture, Section, Table
from hardball.report.pictures import BYTES, fitted
from hardball.report.results import read_json, read_png
from hardball.report.tables import limit_table

Found = Mapping[str, Any]


def extra_sections(paths: Sequence[Path]) -> list[Section]:
    """Sections for the results in these JSON and PNG files, or in these folders of some.

    Raises:
        UserError: nothing there, or another kind of file.
        Damaged: a JSON that is no result of these commands.
    """
    files = [file for path in paths for file in _files(path)]
    pictures = [file for file in files if file.suffix == ".png"]
    found = [one for file in files if file.suffix == ".json" for one in _sections(file)]
    return [*found, *([_pictures(pictures)] if pictures else [])]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(
            [*path.glob("*.json"), *path.glob("*.png")], key=lambda f: (f.stem, f.suffix)
        )
        if not files:
            raise UserError(
                f"`with={path}` holds no .json and no .png; name a folder with results of hardball "
                "theory or limit"
            )
        return files
    if not path.is_file() or path.suffix not in (".json", ".png"):
        raise UserError(
            f"`with={path}`; allowed are .json and .png files of hardball theory and hardball limit, and "
            "folders of them"
        )
    return [path]


def _pictures(files: Sequence[Path]) -> Section:
    room = BYTES // len(files)
    return Section(
        title="Pictures of theory and limit",
        blocks=[
            Picture(
                content=fitted(read_png(file), room),
                alt=f"picture {file.name}",
                caption=file.name,
            )
            for file in files
        ],
    )


def _sections(file: Path) -> Iterator[Section]:
    content = read_json(file)
    # `hardball limit` collects results under NAME/SPLIT/NORM
    entries = [content] if any(key in content for key in KINDS) else list(content.values())
    for one in entries:
        kind = next((k for k in KINDS if isinstance(one, Mapping) and k in one), None)
        try:
            if kind is None:
                raise KeyError("of an unknown kind")
            yield KINDS[kind](one)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise Damaged(
                f"`with={file}` is no result of hardball theory or hardball limit ({error}); make it again"
            ) from error


def _limit(found: Found) -> Section:
    eps = [point["eps"] for point in found["curve"]]
    ends = [[point["error"][end] for point in found["curve"]] for end in (0, 1)]
    settled = ends[0] == ends[1]
    closest = found["closest_pair"]["distance"] / 2
    chart = Chart(
        title="Error that no classifier avoids",
        x_label=f"ε ({found['norm']})",
        y_label="robust error, at least",
        lines=[
            Line(
                name="least forced error",
                x=eps,
                y=ends[0],
                low=() if settled else ends[0],
                high=() if settled else ends[1],
            )
        ],
        levels=[Level(name=f"first conflict, ε = {closest:.4g}", at=closest, upright=True)],
        y_format=".3%",
        tabled=False,
    )
    title = f"The largest ε that {found['data']} allows ({found['split']}, {found['norm']})"
    return Section(
        title=title, blocks=[chart, Table.of(limit_table(dict(found)))], commands=[found["command"]]
    )


def _gaussian(found: Found) -> Section:
    chart = Chart(
        title="Robust error of two Gaussian classes",
        x_label=f"ε ({found['norm']})",
        y_label="robust error",
        lines=[
            Line(name="optimal classifier", x=found["eps"], y=found["optimal"], look=0),
            Line(name="Bayes rule", x=found["eps"], y=found["bayes_rule"], look=1),
        ],
        levels=[Level(name="guessing", at=0.5)],
        tabled=False,
    )
    return _theory("Theory: Gaussian classes", chart, theory_tables.gaussian_table(found), found)


def _bernoulli(found: Found) -> Section:
    chart = Chart(
        title="Robust error of two Bernoulli classes",
        x_label="ε (flips, ℓ0)",
        y_label="robust error",
        lines=[Line(name="optimal threshold", x=found["eps"], y=found["error"])],
        levels=[Level(name="guessing", at=0.5)],
        tabled=False,
        whole=True,
    )
    return _theory("Theory: Bernoulli classes", chart, theory_tables.bernoulli_table(found), found)


def _limits(found: Found) -> Section:
    chart = Chart(
        title="Largest ε with an error below ½",
        x_label="effective features k",
        y_label="ε (flips, ℓ0)",
        lines=[
            Line(name=f"t = {t:g}", x=found["k"], y=row, look=number)
            for number, (t, row) in enumerate(zip(found["t"], found["largest_eps"], strict=True))
        ],
        whole=True,
        tabled=False,
    )
    return _theory(
        "Theory: limits of Bernoulli classes", chart, theory_tables.limits_table(found), found
    )


def _hardness(found: Found) -> Section:
    return _theory("Theory: hardness", None, theory_tables.hardness_table(found), found)


def _theory(title: str, chart: Chart | None, table: Any, found: Found) -> Section:
    blocks = [Table.of(table)] if chart is None else [chart, Table.of(table)]
    return Section(title=title, blocks=blocks, commands=[found["command"]])


KINDS: dict[str, Callable[[Found], Section]] = {
    "closest_pair": _limit,
    "bayes_rule": _gaussian,
    "bayes_error": _bernoulli,
    "largest_eps": _limits,
    "vertices": _hardness,
}
"""A key that only results of one kind have → how they are shown."""
