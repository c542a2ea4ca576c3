"""`hardball export`: a run's network as a file for other programs."""

from hardball.cli.terminal import answered, printable
from hardball.commands.export import ExportConfig
from hardball.commands.export import export as write


def export(config: ExportConfig) -> int:
    """Write a run's network for other programs (torch.export, ONNX), and compare the file with it."""
    found = write(config)
    if not answered(found.as_json()):
        opset = "" if found.opset is None else f", opset {found.opset}"
        print(printable(f"{found.path} ({found.format}{opset}): {found.sentence}"))
    return 0
