"""Honest measurement."""

from hardball.evaluation.accuracy import Accuracy, Evaluation, Score, evaluate

__all__ = ["Accuracy", "Evaluation", "Score", "evaluate"]
