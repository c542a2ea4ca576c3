"""Honest measurement."""

from hardball.evaluation.accuracy import Accuracy, Evaluation, Score
from hardball.evaluation.journal import Journal
from hardball.evaluation.pointwise import evaluate

__all__ = ["Accuracy", "Evaluation", "Journal", "Score", "evaluate"]
