"""Training along the adaptive curriculum: what it measures, keeps, writes and goes back to."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import flat
from commands import TINY, Signal, run, run_two
from hardball import (
    PGD,
    TRADES,
    Adaptive,
    Dataset,
    Run,
    UserError,
    build,
    evaluate,
    fit,
    load_dataset,
    storage,
)
from hardball.runs import COLLAPSED, FINISHED, NON_FINITE, STOPPED, RunFolder
from hardball.storage import load_weights
from hardball.training import TrainingAttack
from hardball.training.curricula.steering import Evidence, Probe, State
from test_resume import result

QUICK = flat.settings(steps=2, batch_size=16, lr=1e-2, validation=1000)
"""437 digits to train on, 28 updates per epoch."""
SHORT: dict[str, Any] = {"longest": 6, "patience": 2, "finish": 2, "probe_images": 40}
WORDS = (
    *("train", "--curriculum", "adaptive", "--data", "digits-bw", *TINY),
    *("--lr", 0.01, "--batch-size", 16, "--longest", 6, "--patience", 2, "--finish", 2),
    *("--probe-images", 40),
)
HARD = ("--eps-max", 0.4, "--increment", 0.1, "--resolution", 0.05, "--limit", 0.7)
"""More than two steps and so few epochs can learn: it fails, goes back and ends below 0.4."""

UPDATE, FSYNC = "hardball.training.update:Update.apply", "os:fsync"


@pytest.fixture(scope="module")
def train() -> Dataset:
    return load_dataset("digits-bw")


def small(data: Dataset, width: int = 4) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build("digits_cnn", data.shape, data.classes, {"width": width})


def decisions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]


def rungs(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "ladder.json").read_text())["rungs"]
    return found


def actions(folder: Path) -> list[tuple[float, str]]:
    return [(line["eps"], line["action"]) for line in decisions(folder)]


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learns every ε asked for."""
    folder = tmp_path_factory.mktemp("easy")
    words = [*WORDS, "--eps-max", 0.12, "--increment", 0.04, "--out", "r"]
    code, out, err = run(words, folder)
    assert (code, err) == (0, "")
    assert "finished: r" in out
    return folder / "r"


def test_it_reaches_the_eps_asked_for_and_says_so(easy: Path) -> None:
    outcome = RunFolder(easy).outcome()
    assert outcome is not None
    assert (outcome.status, outcome.eps, outcome.failed_eps) == (FINISHED, 0.12, None)
    assert "asked for up to ε=0.12, learned ε=0.12 (probe accuracy" in outcome.message
    assert outcome.probe == rungs(easy)[-1]["probe"] | {"masked": False}
    last = decisions(easy)[-1]
    assert (last["action"], last["next"]["phase"]) == ("end", "over")
    assert outcome.epochs == last["epoch"] == len(decisions(easy))


def test_every_rung_has_weights_with_the_accuracy_it_says(easy: Path, train: Dataset) -> None:
    ladder = rungs(easy)
    assert [rung["eps"] for rung in ladder] == [0.0, 0.04, 0.08, 0.12]
    for rung in ladder:
        model = small(train)
        load_weights(model, easy / rung["weights"])
        clean = float((model.eval()(train.images).argmax(dim=1) == train.labels).float().mean())
        assert clean == pytest.approx(rung["val_accuracy"], abs=0.1)  # other images
        if rung["eps"]:
            probe = rung["probe"]
            assert probe["n"] == 40
            assert probe["accuracy"] <= min(probe["trained"], *probe["by"].values())
    best = load_file(easy / ladder[-1]["weights"])
    kept = load_file(easy / "weights.safetensors")
    assert all(torch.equal(best[name], kept[name]) for name in kept)


def test_the_decisions_follow_from_their_evidence(easy: Path) -> None:
    rule = Adaptive(0.12, increment=0.04, **SHORT)
    state = rule.begin()
    for line in decisions(easy):
        probe = line["evidence"].pop("probe")
        seen = Evidence(**line["evidence"], probe=None if probe is None else Probe(**probe))
        assert State.of(line["state"]) == state
        state, decision = rule.decide(state, seen)
        assert State.of(line["next"]) == state
        assert (decision.action, decision.reason) == (line["action"], line["reason"])


def test_the_other_commands_take_run_and_rungs(easy: Path) -> None:
    folder = easy.parent
    model = ("--data", "digits-bw", "--model", "digits_cnn", "--model-args", "{width: 4}")
    rung = "r/rungs/0.08.safetensors"
    fgsm = ("--attacks", "fgsm", "--n", 50)
    assert run(["evaluate", rung, *model, "--eps", 0.08, *fgsm], folder)[0] == 0
    short = ("--epochs", 1, "--steps", 1, "--batch-size", 64, "--validation", 1000)
    assert run(["extend", rung, *model, "--eps", 0.1, *short, "--out", "e"], folder)[0] == 0
    assert run(["extend", "r", "--eps", 0.14, "--epochs", 1, "--out", "f"], folder)[0] == 0
    assert run(["evaluate", "r", "--eps", 0.1, *fgsm], folder)[0] == 0


def test_an_extension_may_be_adaptive(easy: Path) -> None:
    more = ("--curriculum", "adaptive", "--eps-max", 0.2, "--start", 0.12, "--increment", 0.04)
    words = ["extend", "r", *more, "--longest", 6, "--finish", 1, "--probe-images", 40]
    assert run([*words, "--out", "wider"], easy.parent)[0] == 0
    assert [rung["eps"] for rung in rungs(easy.parent / "wider")][:2] == [0.12, 0.16]


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that fails on the way."""
    folder = tmp_path_factory.mktemp("hard")
    code, _, err = run([*WORDS, *HARD, "--out", "r"], folder)
    assert (code, err) == (0, "")
    return folder / "r"


def test_it_names_the_bracket_above_what_it_learned(hard: Path) -> None:
    outcome = RunFolder(hard).outcome()
    assert outcome is not None
    assert outcome.status == STOPPED
    assert outcome.failed_eps is not None
    assert outcome.eps < outcome.failed_eps <= 0.4
    assert outcome.failed_how in ("collapse", "plateau", "masking")
    expected = f"failed at ε={outcome.failed_eps:g} by {outcome.failed_how}"
    assert expected in outcome.message
    assert max(rung["eps"] for rung in rungs(hard)) == outcome.eps
    assert "back" in {action for _, action in actions(hard)}


def files_of(folder: Path) -> tuple[Any, ...]:
    """Everything that a run is: weights, metrics, optimiser, decisions, ladder, rungs."""
    made = sorted(folder.glob("rungs/*"))
    plain = [folder / "decisions.jsonl", folder / "ladder.json", *made]
    return result(folder), [path.name for path in made], [path.read_bytes() for path in plain]


@pytest.mark.parametrize(
    "kill",
    [
        Signal(at=UPDATE, count=60),
        Signal(at=FSYNC, count=40),
        Signal(at="hardball.training.steered:Steered._go_back", count=1),
        Signal(at="hardball.training.steered:Steered._save", count=44),
        Signal(at="hardball.training.steered:Steered._decided", count=7, number=signal.SIGTERM),
    ],
    ids=lambda kill: f"{kill.number.name}-{kill.at.split('.')[-1]}-{kill.count}",
)
def test_a_search_killed_and_resumed_ends_bitwise_as_without_the_kill(
    kill: Signal, hard: Path, tmp_path: Path
) -> None:
    words = [*WORDS, *HARD, "--out", "r", "--save-minutes", 0]
    assert run(words, tmp_path, planned=kill)[0] in (-signal.SIGKILL, 130)
    assert run(["train", "--resume", "r"], tmp_path)[0] == 0
    assert files_of(tmp_path / "r") == files_of(hard)


def test_a_search_killed_after_a_strengthening_goes_on_with_the_stronger_attack(
    tmp_path: Path,
) -> None:
    """Where any loss to the probe counts as masking."""
    words = [*WORDS, "--data", "digits", "--masked", 1, "--eps-max", 0.2, "--increment", 0.2]
    words += ["--resolution", 0.2, "--limit", 0.95, "--epochs", 14, "--save-minutes", 0, "--out"]
    assert run([*words, "whole"], tmp_path)[0] == 0
    doublings = [line["next"]["doublings"] for line in decisions(tmp_path / "whole")]
    assert max(doublings) > 0
    strengthened = doublings.index(1) + 1
    kill = Signal(at=UPDATE, count=28 * strengthened + 9)  # in the epoch after it
    assert run([*words, "r"], tmp_path, planned=kill)[0] == -signal.SIGKILL
    assert run(["train", "--resume", "r"], tmp_path)[0] == 0
    assert files_of(tmp_path / "r") == files_of(tmp_path / "whole")


def test_two_processes_decide_as_one_and_alike(tmp_path: Path) -> None:
    words = [*WORDS, "--eps-max", 0.12, "--increment", 0.06, "--save-minutes", 0, "--out"]
    assert run([*words, "one"], tmp_path)[0] == 0
    assert [code for code, *_ in run_two([*words, "two"], tmp_path)] == [0, 0]
    # sums of float32 in another order: a loss may differ, so a trial may take an epoch more
    ladders = [[rung["eps"] for rung in rungs(tmp_path / name)] for name in ("one", "two")]
    assert ladders == [[0.0, 0.06, 0.12]] * 2
    stop = Signal(at=UPDATE, count=17, number=signal.SIGTERM)
    assert [code for code, *_ in run_two([*words, "r"], tmp_path, planned=stop)] == [130, 0]
    assert [code for code, *_ in run_two(["train", "--resume", "r"], tmp_path)] == [0, 0]
    ours, theirs = (tmp_path / name / "decisions.jsonl" for name in ("r", "two"))
    assert ours.read_bytes() == theirs.read_bytes()
    ours, theirs = (tmp_path / name / "weights.safetensors" for name in ("r", "two"))
    assert ours.read_bytes() == theirs.read_bytes()


# --- what goes wrong, planted


class Gated(nn.Module):
    """A network that sees nothing of images with a pixel more than `reach` away from black and white:
    adversarial training beyond it collapses."""

    def __init__(self, inner: nn.Module, reach: float) -> None:
        super().__init__()
        self.inner, self.reach = inner, reach

    def forward(self, images: Tensor) -> Tensor:
        far = (images - images.round()).abs().flatten(1).amax(dim=1) > self.reach
        logits: Tensor = self.inner(images)
        return torch.where(far[:, None], 0 * logits, logits)


def searched(model: nn.Module, data: Dataset, out: Path, rule: Adaptive, **more: Any) -> Run:
    return fit(model, data, curriculum=rule, settings=flat.settings(QUICK, **more), out=out)


@pytest.fixture(scope="module")
def collapsing(train: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search whose training collapses beyond 0.14."""
    rule = Adaptive(0.3, increment=0.06, resolution=0.02, **SHORT)
    out = tmp_path_factory.mktemp("collapsing") / "r"
    return searched(Gated(small(train), 0.14), train, out, rule, keep_every=1)


def test_a_planted_collapse_is_bracketed(collapsing: Run) -> None:
    assert collapsing.outcome is not None
    assert collapsing.folder is not None
    outcome = collapsing.outcome
    assert (outcome.status, outcome.failed_how) == (STOPPED, "collapse")
    assert outcome.eps == 0.12
    assert outcome.failed_eps == pytest.approx(0.15)
    back = [line for line in decisions(collapsing.folder.path) if line["restore"]]
    assert [(line["eps"], line["action"]) for line in back] == [
        (0.18, "back"),
        (0.15, "finish"),
    ]
    assert all(line["evidence"]["collapsed"] for line in back)


def test_going_back_restores_weights_and_optimiser(train: Dataset, tmp_path: Path) -> None:
    """With no epoch but the failed ones after the last rung, its weights are the result."""
    rule = Adaptive(0.3, increment=0.06, resolution=0.02, **(SHORT | {"finish": 0}))
    found = searched(Gated(small(train), 0.14), train, tmp_path / "r", rule, average=0.9)
    rung = load_file(tmp_path / "r" / rungs(tmp_path / "r")[-1]["weights"])
    assert all(torch.equal(rung[name], value) for name, value in found.model.state_dict().items())
    state = storage.load_state(max(tmp_path.glob("r/state/*.pt")))
    anchor = state["steered"]["anchor"]
    for name, value in anchor["model"].items():
        assert torch.equal(state["model"][name], value)
        assert torch.equal(state["average"][name], anchor["average"][name])
    for mine, kept in zip(
        state["optimizer"]["state"].values(), anchor["optimizer"]["state"].values(), strict=True
    ):
        assert all(torch.equal(mine[name], kept[name]) for name in kept)


def test_after_going_back_the_distance_counts_from_the_weights_gone_back_to(
    collapsing: Run,
) -> None:
    folder, followed = collapsing.folder, 0
    assert folder is not None
    returned = {line["epoch"] for line in decisions(folder.path) if line["restore"]}
    kept = [load_file(folder.epoch_file(int(row["epoch"]))) for row in collapsing.history]
    names = [name for name, _ in collapsing.model.named_parameters()]
    for row, before, after in zip(collapsing.history[1:], kept[:-1], kept[1:], strict=True):
        moved = torch.cat([(after[name] - before[name]).flatten() for name in names])
        same = row["weight_distance"] == pytest.approx(float(moved.norm()), rel=1e-5)
        assert same == (row["epoch"] - 1 not in returned)
        followed += not same
    assert followed


def test_planted_masking_strengthens_the_training_attack(train: Dataset, tmp_path: Path) -> None:
    """One large step from the image itself: the network learns that attack, not the threat."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    attack = TrainingAttack(steps=1, step_size=0.5, random_start=False)
    rule = Adaptive(
        0.45, increment=0.15, start=0.3, finish=0, longest=40, pace=0.6, budget_steps=120_000
    )
    settings = flat.settings(batch_size=64, lr=3e-3, validation=300)
    fit(
        model,
        load_dataset("digits"),
        curriculum=rule,
        attack=attack,
        settings=settings,
        out=tmp_path / "r",
    )
    line = next(line for line in decisions(tmp_path / "r") if line["action"] == "strengthen")
    probe = line["evidence"]["probe"]
    assert probe["accuracy"] < 0.6 * probe["trained"]
    assert (line["next"]["doublings"], line["next"]["trial"]) == (1, line["eps"])


class Breaks(nn.Module):
    """A network whose output is no number in the given training passes."""

    def __init__(self, inner: nn.Module, passes: range) -> None:
        super().__init__()
        self.inner, self.passes, self.done = inner, passes, 0

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        self.done += self.training and torch.is_grad_enabled()
        return logits * torch.nan if self.done in self.passes else logits


def test_a_planted_non_finite_loss_lowers_the_learning_rate(train: Dataset, tmp_path: Path) -> None:
    rule = Adaptive(0.08, increment=0.04, **SHORT)
    found = searched(Breaks(small(train), range(25, 26)), train, tmp_path / "r", rule)
    lines = decisions(tmp_path / "r")
    slow = [line for line in lines if line["action"] == "slow"]
    assert len(slow) == 1
    assert slow[0]["next"]["halvings"] == 1
    assert found.outcome is not None
    assert (found.outcome.status, found.outcome.eps) == (FINISHED, 0.08)
    after = [row["lr"] for row in found.history if row["epoch"] == slow[0]["epoch"] + 1]
    assert after == [0.005]


def test_what_is_never_finite_ends_with_the_first_weights(train: Dataset, tmp_path: Path) -> None:
    model = Breaks(small(train), range(10**9))
    found = searched(model, train, tmp_path / "r", Adaptive(0.1, **SHORT))
    assert found.outcome is not None
    assert found.outcome.status == NON_FINITE
    assert "learned nothing: non-finite at ε=0" in found.outcome.message
    first = small(train).state_dict()
    assert all(torch.equal(first[name], value) for name, value in model.inner.state_dict().items())


def test_a_network_that_learns_nothing_has_collapsed(train: Dataset, tmp_path: Path) -> None:
    found = searched(Gated(small(train), -1.0), train, tmp_path / "r", Adaptive(0.1, **SHORT))
    assert found.outcome is not None
    assert found.outcome.status == COLLAPSED
    assert "learned nothing" in found.outcome.message


# --- any norm, objective and attack; budgets


def test_it_searches_in_l2_with_trades_and_carried_attacks(train: Dataset, tmp_path: Path) -> None:
    rule = Adaptive(0.9, increment=0.3, **SHORT)
    settings = flat.settings(QUICK, norm="l2", carry=True, average=0.9)
    found = fit(
        small(train),
        train,
        curriculum=rule,
        objective=TRADES(beta=2),
        settings=settings,
        out=tmp_path / "r",
    )
    assert found.outcome is not None
    assert found.outcome.eps >= 0.3
    scores = evaluate(
        found.model,
        train.rows(slice(200)),
        eps=[found.outcome.eps],
        norm="l2",
        attacks={"pgd": PGD(steps=5)},
    )
    assert scores.as_json()["robust"][0]["accuracy"] > 0.3


@pytest.mark.parametrize("budget", [20_000, 60_000])
def test_a_budget_of_steps_is_kept_with_the_probes_counted(
    budget: int, train: Dataset, tmp_path: Path
) -> None:
    rule = Adaptive(0.3, budget_steps=budget, **SHORT)
    found = searched(small(train), train, tmp_path / "r", rule)
    assert found.outcome is not None
    assert 0.5 * budget < found.outcome.sample_steps <= budget
    assert "the budget" in found.outcome.message
    assert decisions(tmp_path / "r")[-1]["state"]["phase"] == "finish"


def test_the_finish_has_an_attack_of_its_own(train: Dataset, tmp_path: Path) -> None:
    """Of more steps, which the budget sets aside beforehand."""
    rule = Adaptive(0.3, increment=0.05, budget_steps=60_000, **SHORT)
    own = TrainingAttack(steps=2, finish_epochs=2, finish_steps=9)
    found = searched(small(train), train, tmp_path / "r", rule, attack=own)
    assert found.outcome is not None
    assert found.outcome.sample_steps <= 60_000
    lines = decisions(tmp_path / "r")
    phases = [line["state"]["phase"] for line in lines]
    assert phases == ["search"] * (len(phases) - 2) + ["finish"] * 2
    assert lines[0]["evidence"]["finish_price"] == 9 * 437 / (2 * 437 + 2880)
    assert lines[-1]["evidence"]["finish_price"] == 1
    usual = [2 * 2 ** line["state"]["doublings"] for line in lines]
    search = sum(steps for steps, line in zip(usual[:-2], lines, strict=False) if line["eps"] > 0)
    last = sum(max(9, steps) for steps in usual[-2:])
    probes = sum(
        (line["evidence"]["probe"] or {"sample_steps": 0})["sample_steps"] for line in lines
    )
    assert found.outcome.sample_steps == (search + last) * 437 + probes


def test_a_budget_of_minutes_ends_the_search(train: Dataset, tmp_path: Path) -> None:
    rule = Adaptive(0.3, increment=0.001, resolution=0.001, budget_minutes=0.05, **SHORT)
    found = searched(small(train), train, tmp_path / "r", rule)
    assert found.outcome is not None
    assert found.outcome.status in (STOPPED, COLLAPSED)
    assert "the budget ended" in found.outcome.message
    assert found.outcome.seconds < 30


def test_epochs_are_a_budget_too(train: Dataset, tmp_path: Path) -> None:
    rule = Adaptive(0.4, **SHORT)
    found = fit(small(train), train, curriculum=rule, epochs=6, settings=QUICK)
    assert found.outcome is not None
    assert found.outcome.epochs <= 6


# --- bad input, before anything is trained or written


@pytest.mark.parametrize(
    ("values", "more", "message"),
    [
        ({}, {"schedule": "cosine"}, "schedule=cosine with an adaptive curriculum"),
        ({}, {"finish_epochs": 5, "finish_steps": 9}, "finish_epochs=5 with .* has 2; give"),
        ({}, {"norm": "l0"}, r"resolution=0\.0015 with the norm l0"),
        ({"budget_steps": 500}, {}, r"a probe of up to 2,880 sample-steps with budget_steps=500"),
        (
            {"budget_minutes": 0.05, "probe_steps": 10**5},
            {},
            r"a probe of about \d+ seconds \(8,.* budget_minutes=0\.05; use fewer probe_images",
        ),
        (
            {"budget_steps": 3000},
            {},
            r"budget_steps=3000 for an epoch of 874 .* 2,880; use a larger",
        ),
        (
            {"budget_steps": 10**6, "probe_steps": 10**5},
            {},
            r"a probe of up to .* fewer probe_images",
        ),
    ],
)
def test_bad_input_is_refused_at_once(
    values: dict[str, Any], more: dict[str, Any], message: str, train: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        searched(small(train), train, tmp_path / "r", Adaptive(0.3, **SHORT, **values), **more)
    assert not (tmp_path / "r").exists()


def test_a_norm_without_a_radius_is_refused() -> None:
    with pytest.raises(
        UserError, match="unknown norm to train with 'unbounded'; there are: l0, l2"
    ):
        flat.settings(norm="unbounded")
