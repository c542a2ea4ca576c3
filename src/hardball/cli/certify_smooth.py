"""`hardball certify-smooth`: certificates of a smoothed classifier."""

from hardball.cli.terminal import printable, progress, terminal
from hardball.commands.certify_smooth import SmoothConfig, certify_run
from hardball.report.smoothing_tables import smoothing_sentence, smoothing_table


def certify_smooth(config: SmoothConfig) -> int:
    """ℓ2 radii that a run's smoothed classifier certainly keeps its answer in (randomised smoothing).

    Draws Gaussian noise on each image, counts the classes, and bounds the probability of the commonest
    one. Writes smoothing-SIGMA.json, from which a killed command goes on.
    """
    console = terminal()
    with progress(console) as show:
        found = certify_run(config, show)
    console.print(smoothing_table(found, printable(config.run.resolve().name)))
    console.print(printable(smoothing_sentence(found)), highlight=False)
    return 0
