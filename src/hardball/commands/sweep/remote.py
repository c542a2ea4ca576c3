"""A sweep on Ray: each trial is a task, which is started again where its worker dies."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hardball.commands.sweep.grid import ProbePlan
from hardball.commands.sweep.run import Plan, SweepConfig
from hardball.commands.sweep.trial import Result, Trial, run_trial
from hardball.errors import UserError
from hardball.extras import require

RETRIES = 3
"""How often a trial is begun again whose worker has died: it goes on from its resume point."""
STARTS = 3
"""Attempts to start a cluster on this machine."""
OBJECTS = 10**8
"""Bytes for what tasks hand over: a few numbers each."""


def on_ray(
    plan: Plan, config: SweepConfig, deadline: float, keep: Callable[[Result], object]
) -> bool:
    """The trials that are due, on the cluster at `ray_address` or on one of this machine's own.

    The folder must be one that all machines of the cluster see.

    Raises:
        MissingExtra: Ray is not installed.
        UserError: no cluster at that address, or one that never has the cores and GPUs of a trial.
    """
    ray = _imported()
    _started(ray, config)
    try:
        task = ray.remote(num_cpus=config.cpus, num_gpus=config.gpus, max_retries=RETRIES)(_run)
        pending = {
            task.remote(one.trial, one.folder.resolve(), plan.grid.probe, deadline): one.trial
            for one in plan.due
        }
        whole = True
        while pending:
            (ready,), _ = ray.wait(list(pending), num_returns=1)
            result = _result(ray, ready, pending.pop(ready))
            whole &= result is not None
            if result is not None:
                keep(result)
        return whole
    finally:
        ray.shutdown()


def _run(trial: Trial, folder: Path, probe: ProbePlan, deadline: float) -> Result | None:
    """In a worker."""
    return run_trial(trial, folder, probe, deadline=deadline)


def _imported() -> Any:
    require("a sweep on Ray needs", "ray")
    import ray

    return ray


def _started(ray: Any, config: SweepConfig) -> None:
    """Connected to a cluster that can run a trial."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = config.ray_address is None
    for attempt in range(STARTS if own else 1, 0, -1):
        try:
            ray.init(
                address=config.ray_address,
                include_dashboard=False if own else None,
                log_to_driver=False,
                logging_level="CRITICAL",
                **({"object_store_memory": OBJECTS} if own else {}),
            )
            break
        except Exception as error:  # Ray's own are of no common class
            ray.shutdown()
            if attempt > 1:  # on a busy machine its processes give up on each other after seconds
                continue
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"no Ray cluster with `ray_address={config.ray_address}`: {reason}; start one with "
                "ray start --head and give its address, or leave `ray` out"
            ) from error
    there = ray.cluster_resources()
    for name, asked in (("CPU", config.cpus), ("GPU", config.gpus)):
        if asked > there.get(name, 0):
            ray.shutdown()
            raise UserError(
                f"`{name.lower()}s={asked:g}` for a trial, but the cluster has {there.get(name, 0):g}; "
                "ask for fewer"
            )


def _result(ray: Any, ready: Any, trial: Trial) -> Result | None:
    try:
        found: Result | None = ray.get(ready)
    except ray.exceptions.RayError as error:
        # every retry died: the machine took it away (memory), or the code outside hardball crashed
        reason = f"its worker died {RETRIES + 1} times: {' '.join(str(error).split())[:200]}"
        return Result(
            name=trial.name, identity=trial.identity, own=trial.own, status="failed", reason=reason
        )
    return None if found is None else replace(found, name=trial.name)
