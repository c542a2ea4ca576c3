"""What a reproduction says, in words and tables."""

from collections.abc import Iterable, Mapping
from typing import Any

VERDICT = {True: "shows", False: "does not show", None: "measured"}
"""holds → word."""


def sentence(answer: Mapping[str, Any]) -> str:
    """A claim, and whether it shows."""
    return f"{VERDICT[answer['holds']]}: {answer['claim']} ({_words(answer['numbers'])})"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_words(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return " → ".join(_words(one) for one in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def claims(results: Iterable[Mapping[str, Any]]) -> str:
    """A table in Markdown of the claims of recipes, with what their numbers say.

    Args:
        results: contents of NAME.json.
    """
    lines = ["| | claim | | numbers |", "| --- | --- | --- | --- |"]
    for found in results:
        for answer in found["answers"]:
            word, numbers = VERDICT[answer["holds"]], _words(answer["numbers"])
            word = f"**{word}**" if answer["holds"] is False else word
            lines.append(f"| {found['name']} | {answer['claim']} | {word} | {numbers} |")
    return "\n".join(lines) + "\n"


def trainings(results: Iterable[Mapping[str, Any]]) -> str:
    """A table in Markdown of the trainings behind recipes, each once."""
    told = [pair for found in results for pair in found["trainings"].items()]
    # the last of a name counts, one that was trained here before one of the zoo
    every = dict(sorted(told, key=lambda pair: pair[1]["minutes"] is not None))
    lines = [
        "| training | epochs | ended | sample-steps | minutes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, one in sorted(every.items()):
        row = (name, one["epochs"], one["status"], f"{one['sample_steps']:,}", _minutes(one))
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines) + "\n"


def _minutes(training: Mapping[str, Any]) -> str:
    minutes = training["minutes"]
    return "of the zoo" if minutes is None else str(minutes)
