"""The network of a run, built anew from its files in a process of its own, where nothing was asked yet."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hardball import storage
from hardball.errors import CannotRun
from hardball.evaluation.forward import accepting
from hardball.runs import Config, model_from


class Rebuilt:
    """A classifier that another process has built, and answers for."""

    def __init__(self, config: Config, weights: Path, device: torch.device) -> None:
        # spawned, not forked: no module's variables come along
        start = get_context("spawn")
        self._pipe, theirs = start.Pipe()
        arguments = (theirs, config, weights, device, torch.get_num_threads())
        self._process = start.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def __call__(self, images: Tensor) -> Tensor:
        try:
            self._pipe.send(images.cpu().numpy())
            found = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise CannotRun("the process with the fresh copy ended before it answered") from error
        if isinstance(found, str):
            raise CannotRun(f"the fresh copy: {found}")
        return torch.from_numpy(found).to(images.device)

    def close(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()


@contextmanager
def rebuilding(
    config: Config, weights: Path, device: torch.device
) -> Iterator[Callable[[], Rebuilt]]:
    """Within this block the network can be built anew, each time in a new process.

    Args:
        config: names the network, which was accepted.
        weights: their file.
        device: where to compute.
    """
    with ExitStack() as opened:

        def build() -> Rebuilt:
            made = Rebuilt(config, weights, device)
            opened.callback(made.close)
            return made

        yield build


def _serve(
    pipe: "Connection[Any, Any]", config: Config, weights: Path, device: torch.device, threads: int
) -> None:
    """The process's life: logits for images, until the pipe is closed."""
    torch.set_num_threads(threads)
    try:
        network = model_from(config, trust=True)
        storage.load_weights(network, weights)
        model = accepting(network.to(device).eval(), torch.float32)
    except Exception as error:  # a network's own code may raise anything
        failure = _line(error)

        def model(images: Tensor) -> Tensor:
            raise CannotRun(failure)

    while True:
        try:
            images = torch.from_numpy(pipe.recv()).to(device)
        except EOFError:
            return
        try:
            with torch.no_grad():
                pipe.send(model(images).float().cpu().numpy())
        except Exception as error:
            pipe.send(_line(error))


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
