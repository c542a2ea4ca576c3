"""`hardball doctor`."""

from typing import Any

from hardball.cli.terminal import answered, printable, terminal
from hardball.commands.doctor import DoctorConfig, examination
from hardball.errors import as_flags


def doctor(config: DoctorConfig) -> int:
    """Versions, devices, data and extras that are found, and a self-test: for bug reports.

    The self-test trains, attacks and re-checks a small network. Exit code 1 if it does not give the
    numbers that it should.
    """
    found = examination(config)
    test = found["self_test"]
    if not answered(found):
        console = terminal()
        for line in _lines(found):
            console.print(printable(line), soft_wrap=True, highlight=False)
    return 0 if test is None or test["passed"] else 1


def _lines(found: dict[str, Any]) -> list[str]:
    machine = {name: value for name, value in found["machine"].items() if value is not None}
    lines = [f"{name}: {value}" for name, value in machine.items()]
    lines.append(f"devices: {', '.join(found['devices'])}")
    lines += [
        f"{name}: {version or 'MISSING'}"
        for name, version in found["packages"].items()
        if name not in machine
    ]
    for name, packages in found["extras"].items():
        each = [f"{package} {version or 'missing'}" for package, version in packages.items()]
        lines.append(f"extra {name}: {', '.join(each)}")
    there = [name for name, is_there in found["data"].items() if is_there]
    lines.append(f"data: {', '.join(there)} (looked in {found['data_root']}; see --data-root)")
    lines += [f"{name}={value}" for name, value in found["environment"].items()]
    return [*lines, _tested(found["self_test"])]


def _tested(test: dict[str, Any] | None) -> str:
    if test is None:
        return "self-test: not asked for"
    if "error" in test:
        return f"self-test: FAILED: {as_flags(test['error'])}"
    numbers = ", ".join(
        f"{name} {test[name]:.1%} (expected {least:.0%} to {most:.0%})"
        for name, (least, most) in test["expected"].items()
    )
    again = "re-check passed" if test["verified"] else "re-check FAILED"
    word = "passed" if test["passed"] else "FAILED"
    return f"self-test: {word}: {numbers}, {again}, {test['seconds']} s"
