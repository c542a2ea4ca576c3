"""`hardball landscape weights | inputs | convergence`: the loss as pictures and numbers."""

from collections.abc import Sequence
from pathlib import Path

from hardball.cli.flags import about
from hardball.cli.parsing import Parser
from hardball.cli.terminal import answered, progress, terminal
from hardball.commands.landscape.convergence import ConvergenceConfig
from hardball.commands.landscape.convergence import convergence as draw_convergence
from hardball.commands.landscape.inputs import InputsConfig
from hardball.commands.landscape.inputs import inputs as draw_inputs
from hardball.commands.landscape.weights import WeightsConfig
from hardball.commands.landscape.weights import weights as draw_weights
from hardball.report import landscape_tables


def weights(config: WeightsConfig) -> int:
    """The adversarial loss on the segment between two sets of weights.

    The attack is run anew at each point, from the same random starts. Prints how far the loss is from
    convex and the barrier between the ends; writes landscape-weights.json and .png.
    """
    console = terminal()
    with progress(console) as show:
        found = draw_weights(config, show)
    if not answered(found):
        console.print(landscape_tables.weights_table(found))
    return 0


def inputs(config: InputsConfig) -> int:
    """The loss around images, on the plane of an adversarial and a random direction.

    Jumps are a sign that a network hides its gradient. Prints how sudden the loss is, by two numbers;
    writes landscape-inputs.json and .png.
    """
    console = terminal()
    with progress(console) as show:
        found = draw_inputs(config, show)
    if not answered(found):
        console.print(landscape_tables.inputs_table(found))
    return 0


def convergence(words: Sequence[str]) -> int:
    """How the loss and the weights of runs changed from epoch to epoch.

    Training recorded both; nothing is computed. Writes landscape-convergence.json and .png.
    """
    parser = Parser("landscape convergence", "RUN ...", description=about(convergence))
    parser.add_argument("runs", type=Path, nargs="+", help="one run or several")
    parser.add_class_arguments(ConvergenceConfig, None, skip={"runs"})
    values = parser.parsed(words)
    found = draw_convergence(ConvergenceConfig(values.pop("runs"), **values))
    if not answered(found):
        terminal().print(landscape_tables.convergence_table(found))
    return 0
