"""What an evaluation must reach: the argument `require`, EPS:ACC."""

from dataclasses import dataclass
from typing import Self

from hardball.errors import UserError
from hardball.evaluation import Accuracy, Evaluation


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """At least this accuracy at this ε, under the pointwise worst of everything tried."""

    eps: float
    accuracy: float

    @classmethod
    def parse(cls, text: str) -> list[Self]:
        """From "EPS:ACC", e.g. "0.4:0.90" or "8/255:0.5", or several of them with commas between.

        Raises:
            UserError: anything else.
        """
        return [cls._one(part.strip()) for part in text.split(",")]

    @classmethod
    def _one(cls, text: str) -> Self:
        try:
            eps, accuracy = (_number(part) for part in text.split(":"))
        except (ValueError, ZeroDivisionError) as error:
            raise UserError(
                f"`require={text}`; allowed is EPS:ACC, two numbers, e.g. 0.4:0.90"
            ) from error
        if not 0 <= accuracy <= 1:
            raise UserError(
                f"`require={text}`: accuracy {accuracy:g}; allowed is 0 … 1: write 90% as 0.9"
            )
        return cls(eps=eps, accuracy=accuracy)

    def met_by(self, found: Evaluation) -> bool:
        return self.measured(found).value >= self.accuracy

    def measured(self, found: Evaluation) -> Accuracy:
        return found.worst[self.eps]

    def line(self, found: Evaluation) -> str:
        """One line for the terminal."""
        word = "met" if self.met_by(found) else "MISSED"
        return (
            f"required {self.accuracy:.1%} at ε={self.eps:g}: {word}, measured "
            f"{self.measured(found)}"
        )

    def as_json(self, found: Evaluation) -> dict[str, float | bool]:
        return {"eps": self.eps, "accuracy": self.accuracy, "met": self.met_by(found)}


def _number(text: str) -> float:
    """0.4, or a fraction as in 8/255.

    Raises:
        ValueError, ZeroDivisionError: neither.
    """
    over, slash, under = text.partition("/")
    return float(over) / float(under) if slash else float(text)
