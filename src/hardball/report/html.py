"""One self-contained page: no script, nothing fetched."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a paragraph, and what is shown under it."""

    title: str
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    picture: bytes | None = None
    """Content of a PNG file."""
    commands: Sequence[str] = ()

    @property
    def picture_data(self) -> str:
        return b64encode(self.picture or b"").decode()


def page(title: str, summary: str, sections: Sequence[Section]) -> str:
    """The HTML of a report; all text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hardball.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html")
    return template.render(title=title, summary=summary, sections=sections)
