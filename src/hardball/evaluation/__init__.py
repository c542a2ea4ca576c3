"""Honest measurement."""

from hardball.evaluation import protocols
from hardball.evaluation.checks.checklist import Checklist, checklist
from hardball.evaluation.checks.context import Origin
from hardball.evaluation.journal import Journal
from hardball.evaluation.results import Accuracy, Evaluation, Proof, Score
from hardball.evaluation.robust_accuracy import evaluate
from hardball.evaluation.saving import load_evaluation, save_evaluation

__all__ = [
    "Accuracy",
    "Checklist",
    "Evaluation",
    "Journal",
    "Origin",
    "Proof",
    "Score",
    "checklist",
    "evaluate",
    "load_evaluation",
    "protocols",
    "save_evaluation",
]
