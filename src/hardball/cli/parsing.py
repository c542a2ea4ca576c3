"""Flags from typed functions and dataclasses, YAML files, and errors of one line."""

import re
import types
from argparse import SUPPRESS, Action
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Never, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from hardball import settings_file
from hardball.cli.terminal import ask_for_json
from hardball.errors import UserError
from hardball.names import is_own, refuse_code
from hardball.presets import JOINED

set_parsing_settings(docstring_parse_attribute_docstrings=True)

KINDS: dict[object, tuple[str, str]] = {
    float: ("NUMBER", "a finite number"),
    int: ("N", "a whole number"),
    bool: ("BOOL", "true or false"),
    str: ("NAME", "a name"),
    Path: ("PATH", "a path"),
    dict: ("YAML", "a YAML mapping, e.g. '{width: 16}'"),
    list: ("LIST", "a list, e.g. '[0.1, 0.2]'"),
    type(None): ("null", "null"),
}
"""type → what help shows in place of a value, and what an error says is allowed."""


class Help(DefaultHelpFormatter):
    """Each flag in its shortest form, with what it is for and its default."""

    def _get_help_string(self, action: Action) -> str:
        text = (action.help or "").strip()
        if not action.option_strings:
            return text
        if action.required:
            return f"{text} (required)"
        if action.default in (None, SUPPRESS, {}) or "default" in text:
            return text
        shown = str(action.default).lower() if isinstance(action.default, bool) else action.default
        return f"{text} (default: {shown})"

    def _get_default_metavar_for_optional(self, action: Action) -> str:
        hint = getattr(action, "_typehint", None)
        return KINDS.get(_members(hint)[0], ("VALUE", ""))[0]

    def _format_action_invocation(self, action: Action) -> str:
        text = super()._format_action_invocation(action)
        short = getattr(action, "short", None)
        text = text.replace(f"--{action.dest}", f"--{short}", 1) if short else text
        return re.sub(r"--[a-z_]+", lambda flag: flag[0].replace("_", "-"), text)


class Parser(ArgumentParser):
    """jsonargparse's parser, whose errors are hardball's: one line, exit code 2.

    Values are nested, as in a YAML file (`attack: {steps: 20}`), and a flag may be written in full
    (--attack.steps 20). The dot may be a dash (--data-root), the group may be left out where the rest
    is unambiguous (--steps), and a group's name needs no more than the group (--optimizer sgd). The
    same short forms serve in a YAML file.
    """

    def __init__(
        self, name: str, arguments: str = "", *, answers: bool = True, **more: Any
    ) -> None:
        self.arguments = arguments.split()
        usage = " ".join(["hardball", name, *arguments.split(), "[--flag value ...]"])
        # no abbreviations: `peek` looks for whole names
        super().__init__(
            prog=f"hardball {name}",
            usage=usage,
            formatter_class=Help,
            allow_abbrev=False,
            **more,
        )
        if answers:
            self.add_argument(
                "--json",
                action="store_true",
                default=SUPPRESS,
                help="print the result as one JSON object on stdout, and all else on stderr",
            )

    def add_fields(
        self, maker: type[Any], group: str | None = None, *, skip: Sequence[str] = ()
    ) -> None:
        """Flags for the fields of a dataclass, but not for those whose type is one (add them as a
        group of their own).

        Args:
            group: the key that holds them in nested values; None for the top level.
            skip: fields to leave out.
        """
        hints = get_type_hints(maker)
        nested = [name for name, hint in hints.items() if hasattr(hint, "__dataclass_fields__")]
        self.add_class_arguments(maker, group, skip={*skip, *nested}, fail_untyped=False)
        if group is not None:
            # the group itself is no flag: --GROUP means --GROUP.name
            self._remove(group)

    def _remove(self, dest: str) -> None:
        for action in [a for a in self._actions if a.dest == dest]:
            self._actions.remove(action)
            for option in action.option_strings:
                self._option_string_actions.pop(option)
            for group in self._action_groups:
                if action in group._group_actions:
                    group._group_actions.remove(action)

    def short_forms(self) -> dict[str, str]:
        """Short form → key, for every key of a group."""
        keys = [a.dest for a in self._actions if a.option_strings]
        flat = {key for key in keys if "." not in key}
        nested = [key for key in keys if "." in key]
        leaves = Counter(key.rpartition(".")[2] for key in nested)
        found: dict[str, str] = {}
        for key in nested:
            group, _, leaf = key.rpartition(".")
            found[key.replace(".", "_")] = key
            if leaf == "name":
                found[group] = key
            elif leaves[leaf] == 1 and leaf not in JOINED:
                found[leaf] = key
        return {short: key for short, key in found.items() if short not in flat}

    def parsed(self, argv: Sequence[str]) -> dict[str, Any]:
        """The nested values of a command line.

        Raises:
            UserError: in one line.
        """
        short = self.short_forms()
        for action in self._actions:
            forms = [form for form, key in short.items() if key == action.dest]
            if forms:
                action.short = min(forms, key=len).replace("_", "-")  # type: ignore[attr-defined]
        config = typed(argv, "config")
        if config is not None:
            _refuse_code(Path(config), argv)
        try:
            values: dict[str, Any] = self.parse_args(self._expanded(argv, short)).as_dict()
        except OverflowError:  # a whole number where a float is meant
            longest = max(argv, key=len)
            self.error(f"{longest[:20]}... has too many digits for a number")
        values.pop("config", None)
        ask_for_json(values.pop("json", False))
        return values

    def _expanded(self, argv: Sequence[str], short: Mapping[str, str]) -> list[str]:
        """Every flag in full, the content of a --config file in full too, and 8/255 as a number."""
        numbers = self._numbers
        words: list[str] = []
        now = ""  # the flag that a value belongs to
        for given in argv:
            if given.startswith("--"):
                flag = given.partition("=")[0]
                now = short.get(flag[2:], flag[2:]).rstrip("+")
            word = _divided(given) if now in numbers else given
            flag, equals, value = word.partition("=")
            if words and words[-1] == "--config" and not word.startswith("--"):
                full = self._full_file(Path(word), short)
            elif flag == "--config" and equals:
                full = f"--config={self._full_file(Path(value), short)}"
            elif word.startswith("--"):
                full = f"--{short.get(flag[2:], flag[2:])}{equals}{value}"
            else:
                full = word
            words.append(full)
        return words

    def _full_file(self, path: Path, short: Mapping[str, str]) -> str:
        groups = {a.dest.partition(".")[0] for a in self._actions if "." in a.dest}
        content: dict[str, Any] = {}
        for key, value in yaml_file(path).items():
            whole = key in groups and isinstance(value, Mapping)
            put(content, key if whole else short.get(key, key), value)
        return yaml.safe_dump(_as_numbers(content, self._numbers), allow_unicode=True)

    @property
    def _numbers(self) -> set[str]:
        """Flags that take numbers."""
        return {a.dest for a in self._actions if _takes_numbers(getattr(a, "_typehint", None))}

    def error(self, message: str, ex: Exception | None = None) -> Never:
        line = " ".join(str(message).split()).removesuffix(see := f"; see {self.prog} --help")
        raise UserError(self._plain(line).replace('Parser key "config": ', "--config: ") + see)

    def _plain(self, line: str) -> str:
        """jsonargparse's commonest complaints in hardball's words."""
        key = re.search(r'Parser key "([^"]+)"', line)
        value = re.search(
            r"(?:Got|Given) value: (.*?)(?: - Expected .*| Given value type: .*)?$", line
        )
        action = next((a for a in self._actions if key and a.dest == key[1]), None)
        hint = getattr(action, "_typehint", None)
        if key and value and hint is not None:
            shown = str(getattr(action, "short", key[1])).replace("-", "_")
            return f"{shown}={value[1]}; allowed is {_allowed(hint)}"
        missing = re.search(r"the following arguments are required: (.*)", line)
        if missing:
            shown_as = {a.dest: f"--{a.dest}" for a in self._actions if a.option_strings}
            positional = [a.dest for a in self._actions if not a.option_strings]
            shown_as |= dict(zip(positional, self.arguments, strict=False))
            return "missing " + " and ".join(
                shown_as.get(name, name.upper()) for name in missing[1].split(", ")
            )
        unknown = re.search(
            r"[Uu]nrecognized arguments: (--[^\s=]+)|(?:Key|Option) '([^']+)' is not", line
        )
        if unknown:
            return self._unknown(str(unknown[1] or unknown[2]).removeprefix("--"))
        return line

    def _unknown(self, name: str) -> str:
        flags = [*self.short_forms(), *(a.dest for a in self._actions if a.option_strings)]
        near = get_close_matches(name, flags, n=1)
        hint = f"; did you mean --{near[0].replace('_', '-')}?" if near else ""
        return f"unknown flag --{name.replace('_', '-')}{hint}"


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a key with dots; mappings on the way are merged."""
    group, dot, leaf = key.partition(".")
    if dot:
        inner = values.setdefault(group, {})
        put(inner, leaf, value)
    elif isinstance(value, Mapping) and isinstance(values.get(key), dict):
        for name, part in value.items():
            put(values[key], name, part)
    else:
        values[key] = dict(value) if isinstance(value, Mapping) else value


def flattened(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Nested values → those of the given keys, and a mapping that is the value of a key stays whole."""
    found: dict[str, Any] = {}
    for key in keys:
        inner: Any = values
        for part in key.split("."):
            if not isinstance(inner, Mapping) or part not in inner:
                break
            inner = inner[part]
        else:
            found[key] = inner
    return found


def _members(hint: object) -> list[Any]:
    """The types that a hint allows, in order, without their arguments."""
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for part in get_args(hint) for kind in _members(part)]
    return [hint if get_origin(hint) is Literal else get_origin(hint) or hint]


def _allowed(hint: object) -> str:
    return " or ".join(
        ", ".join(map(str, get_args(kind)))
        if get_origin(kind) is Literal
        else KINDS.get(kind, ("", str(kind)))[1]
        for kind in _members(hint)
    )


def _takes_numbers(hint: object) -> bool:
    """A number that need not be whole is among what the hint allows, or in a list of it."""
    return hint is float or any(map(_takes_numbers, get_args(hint)))


FRACTION = re.compile(r"(?<![\w./])(\d+(?:\.\d+)?)/(0*[1-9]\d{0,8})(?![\w./])")
"""A fraction, as ε of 8-bit pixels is written."""


def _divided(word: str) -> str:
    """8/255 → 0.03137254901960784."""
    return FRACTION.sub(lambda found: str(float(found[1]) / float(found[2])), word)


def _as_numbers(content: Any, flags: set[str], key: str = "") -> Any:
    """A file's values, with 8/255 as a number in those of these flags."""
    if isinstance(content, Mapping):
        inside = {name: f"{key}.{name}".lstrip(".") for name in content}
        return {name: _as_numbers(content[name], flags, inside[name]) for name in content}
    if isinstance(content, list):
        return [_as_numbers(one, flags, key) for one in content]
    if isinstance(content, str) and key in flags and FRACTION.fullmatch(content):
        return float(_divided(content))
    return content


def with_underscores(argv: Sequence[str]) -> list[str]:
    """--data-root and --data_root are the same flag."""
    return [
        re.sub(r"^--[^=]+", lambda m: "--" + m[0][2:].replace("-", "_"), a)
        if a.startswith("--")
        else a
        for a in argv
    ]


def typed(argv: Sequence[str], flag: str) -> str | None:
    """The value that `--flag` (or --flag.name) has on the command line itself."""
    found: str | None = None
    for index, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name in (f"--{flag}", f"--{flag}.name"):
            found = value if equals else (argv[index + 1] if index + 1 < len(argv) else None)
    return found


def trusts(argv: Sequence[str]) -> bool:
    """The command line itself, not a file, says that code outside hardball may run."""
    return (typed(argv, "trust_model_code") or "false").lower() == "true"


CODE = ("data", "model", "curriculum", "objective", "attacks", "certify")
"""Keys whose values may be names of code outside hardball."""
LIKE_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""What looks like such a name under any other key, so that no flag to come is forgotten."""


def _refuse_code(path: Path, argv: Sequence[str]) -> None:
    """A --config file may come from anyone: what it names is not the user's own word.

    Raises:
        Untrusted: it names code outside hardball that the command line does not name or trust.
        UserError: it vouches for itself.
    """
    content = yaml_file(path)
    if content.get("trust_model_code"):
        raise UserError(
            f"trust_model_code in --config {path}, which cannot vouch for itself; write "
            "--trust-model-code true on the command line if you trust the file"
        )
    for key, value in content.items():
        named = value.get("name") if isinstance(value, Mapping) else value
        given = named if isinstance(named, list) else [named]
        for name in _texts(value):
            own = LIKE_CODE.fullmatch(name) or (key in CODE and name in given and is_own(name))
            if own and name != typed(argv, key) and not trusts(argv):
                refuse_code(key, name)


def _texts(value: object) -> Iterator[str]:
    """All strings in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def peek(argv: Sequence[str], flag: str) -> str | None:
    """The value that `--flag` has on the command line, or else in a --config file: for a flag that
    changes which others there are, or their defaults, needed before they are parsed."""
    found = typed(argv, flag)
    config = typed(argv, "config") if found is None and flag != "config" else None
    if config is not None:
        value = yaml_file(Path(config)).get(flag)
        value = value.get("name") if isinstance(value, Mapping) else value
        found = None if value is None else str(value)
    return found


def yaml_file(path: Path) -> dict[str, Any]:
    """A --config file's content.

    Raises:
        UserError: unreadable, or no mapping.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe might never end
            raise UserError(f"--config {path} is no regular file; name a YAML file")
        return settings_file.parse(path.read_bytes())
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot read --config {path}: {reason}; name a YAML file") from error
