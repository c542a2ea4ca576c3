"""What a page is made of: sections, and the tables, charts and pictures under them. Plain data."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Tone = Literal["good", "doubtful", "bad", "plain"]


@dataclass(frozen=True)
class Badge:
    """A word that is seen at a glance. Its colour repeats what the word says."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Remarked:
    """Words with smaller ones below."""

    text: str
    remark: str


Cell = str | Badge | Remarked


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns and rows of text."""

    kind: ClassVar[str] = "table"
    columns: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    folded: str = ""
    """Shown once this, its summary, is opened; in sight if empty."""
    words: bool = False
    """The cells are words that may wrap, not numbers."""

    @classmethod
    def of(cls, table: "RichTable", **more: Any) -> Self:
        """A table of the terminal; its caption becomes a remark below."""
        return cls(
            columns=[str(column.header) for column in table.columns],
            rows=list(
                zip(*([str(c) for c in column.cells] for column in table.columns), strict=True)
            ),
            caption=". ".join(str(part) for part in (table.title, table.caption) if part),
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    """Ends of intervals, one for each point, or none …"""
    high: Sequence[float] = ()
    look: int = 0
    """Number of its colour, dashes and marker: the same run looks the same everywhere."""
    second: bool = False
    """Another quantity of the line with the same look: dotted, with hollow markers."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A straight dotted line of reference."""

    name: str
    at: float
    upright: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over an x axis, with a table of the same numbers behind."""

    kind: ClassVar[str] = "chart"
    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    levels: Sequence[Level] = ()
    y_format: str = ".4g"
    """Of numbers in the table and under the pointer."""
    percent: bool = False
    """y is a share: its axis goes from 0 to 100%."""
    log: bool = False
    """y is on a logarithmic axis; all of it is positive."""
    from_zero: bool = True
    """The y axis begins at 0."""
    whole: bool = False
    """x counts something."""
    tabled: bool = True
    """A table of its numbers is behind it; False where one follows anyway."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG file, with what it shows in words."""

    kind: ClassVar[str] = "picture"
    content: bytes
    alt: str
    caption: str = ""

    @property
    def data(self) -> str:
        return b64encode(self.content).decode()


@dataclass(frozen=True, kw_only=True)
class Note:
    """A paragraph."""

    kind: ClassVar[str] = "note"
    text: str
    badge: Badge | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Text as it is in a file."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Lines to type."""

    kind: ClassVar[str] = "commands"
    lines: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A part that is not there, why, and the commands that make it."""

    kind: ClassVar[str] = "missing"
    what: str
    commands: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a paragraph, and what is shown under it."""

    title: str
    text: str = ""
    blocks: Sequence[Any] = ()
    """Tables, charts, pictures, …: what has a `kind`, the name of its macro in blocks.html."""
    commands: Sequence[str] = field(default=())
    """What remakes it."""

    @property
    def anchor(self) -> str:
        """The name that a link within the page has for it."""
        return "".join(c if c.isascii() and c.isalnum() else "-" for c in self.title.lower())

    @property
    def missing(self) -> list[Missing]:
        return [block for block in self.blocks if isinstance(block, Missing)]

    @property
    def empty(self) -> bool:
        """Nothing but parts that are missing."""
        return bool(self.missing) and len(self.missing) == len(self.blocks)


def once(commands: Iterable[str]) -> list[str]:
    """Each command once, in order."""
    return list(dict.fromkeys(commands))
