"""This attack on these examples: from the journal or anew, in so many processes.

Shapes: N examples of the data; R of them to be attacked.
"""

import json
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

import torch
from rich.progress import Progress
from torch import Tensor

from hardball.attacks import Attack, Classifier
from hardball.data import Dataset
from hardball.evaluation.forward import accepting
from hardball.evaluation.journal import Journal, Record
from hardball.evaluation.tasks import Task, TaskResult, confirms, is_result
from hardball.evaluation.workers import Pool
from hardball.perf import measuring
from hardball.threats import ThreatModel


class Execution:
    """Runs attacks on a model and a data set.

    A context manager: within its block the model is in evaluation mode with its fast layers, and the
    processes are kept; at its end they end, and what was found is on disk.

    Args:
        model: images [B, C, H, W] → logits [B, K].
        data: the examples, on the model's device.
        seed: of all random numbers.
        batch_size: examples at a time; changes the speed, not the answer.
        processes: how many work at once, on the CPU; changes the speed, not the answer.
        journal: keeps what was found; what is in it already is not done again.
        progress: shows how far each attack has come.

    Raises:
        UserError: less than one process, or several on a GPU.
    """

    def __init__(
        self,
        model: Classifier,
        data: Dataset,
        *,
        seed: int = 0,
        batch_size: int = 256,
        processes: int = 1,
        journal: Journal | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.model = accepting(model, data.images.dtype)
        self.data, self.seed, self.batch_size, self.processes = data, seed, batch_size, processes
        self.journal = journal or Journal()
        self.progress = progress or Progress(disable=True)
        self._pool = Pool(self.model, data, batch_size, processes)
        self._block = ExitStack()
        self._believed: dict[tuple[str, int], bool] = {}

    def __enter__(self) -> Self:
        self._block.enter_context(measuring(self.model, self.data.images))
        self._block.callback(self.journal.flush)
        self._block.callback(self._pool.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._block.close()

    def run(self, name: str, attack: Attack, threat: ThreatModel, rows: Tensor) -> list[TaskResult]:
        """One attack at one ε on the examples `rows` (int64 [R]).

        Returns:
            What was found on them: first what the journal holds, then what was done now. A kept
            result may cover further examples, which count in its cost.
        """
        wanted = torch.zeros(len(self.data), dtype=torch.bool)
        wanted[rows] = True
        results = [r for r in self.recorded(name, attack, threat) if bool(wanted[r.rows].any())]
        missing = wanted.clone()
        for result in results:
            missing[result.rows] = False
        left = rows[missing[rows]]
        shown = self.progress.add_task(f"{name} at {threat}", total=len(rows))
        self.progress.advance(shown, len(rows) - len(left))
        key = record_key(name, attack, float(threat.eps))
        for result in self._pool.do(self._tasks(name, attack, threat, left)):
            self._believed[key, len(self.journal.records(key))] = True
            self.journal.append(key, result.as_record())
            results.append(result)
            self.progress.advance(shown, len(result.rows))
        self.journal.flush()
        self.progress.remove_task(shown)
        return results

    def recorded(self, name: str, attack: Attack, threat: ThreatModel) -> list[TaskResult]:
        """What the journal holds of an attack. Of an example attacked twice the first attempt counts.

        What it claims to have found is judged again: a part with a find that ball, box or model do not
        confirm is not used, and so done again.
        """
        key = record_key(name, attack, float(threat.eps))
        found: list[TaskResult] = []
        seen: set[int] = set()
        for place, record in enumerate(self.journal.records(key)):
            if not self._holds(key, place, record, threat):
                continue
            result = TaskResult(**record)
            rows = set(result.rows.tolist())
            if not rows & seen:
                found.append(result)
                seen |= rows
        return found

    def _holds(self, key: str, place: int, record: Record, threat: ThreatModel) -> bool:
        """The journal's record can be believed: asked of each once."""
        if (key, place) not in self._believed:
            good = is_result(record, self.data)
            if good:
                rows = record["rows"][record["broken"]]
                examples = record["examples"].to(self.data.images.device)
                asked = (self.model, self.data, rows, examples, threat, self.batch_size)
                good = bool(confirms(*asked).all())
            if not good:
                warnings.warn(
                    f"the journal has finds of {json.loads(key)['attack']} at {threat} that the model "
                    "does not confirm; that part is done again",
                    stacklevel=2,
                )
            self._believed[key, place] = good
        return self._believed[key, place]

    def _tasks(self, name: str, attack: Attack, threat: ThreatModel, rows: Tensor) -> list[Task]:
        # where processes would be idle, batches are smaller
        size = min(self.batch_size, max(1, -(-len(rows) // self.processes)))
        return [
            Task(name=name, attack=attack, threat=threat, rows=part, seed=self.seed)
            for part in split(rows, attack, size)
        ]


def record_key(name: str, attack: Attack, eps: float) -> str:
    """The key under which a journal keeps an attack's results: nothing an attack says of itself can
    take the place of its name or of ε."""
    return json.dumps({"attack": name, "eps": eps, "is": attack.description()}, sort_keys=True)


def split(rows: Tensor, attack: Attack, batch_size: int) -> Sequence[Tensor]:
    """The rows of each task.

    An attack whose random numbers depend on an example's companions has a `chunk`: its tasks have
    exactly that many examples (the last may have fewer), whatever the batch size.
    """
    return [part for part in torch.split(rows, attack.chunk or batch_size) if len(part)]
