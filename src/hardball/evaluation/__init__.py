"""Honest measurement."""

from hardball.evaluation import protocols
from hardball.evaluation.journal import Journal
from hardball.evaluation.results import Accuracy, Evaluation, Score
from hardball.evaluation.robust_accuracy import evaluate

__all__ = ["Accuracy", "Evaluation", "Journal", "Score", "evaluate", "protocols"]
