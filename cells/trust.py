"""How far a prediction may be trusted: the status that stands before the answer.

The rule is one threshold on the probability, chosen on validation pictures so that a fixed share of familiar cells is sent
to a person, and stored in the model folder as trust.json.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

OK, REVIEW, UNFAMILIAR, ERROR = STATUSES = "ok", "review", "unfamiliar", "error"

FILE = "trust.json"
REVIEW_SHARE = 0.04  # of validation cells; more would tire the person who looks


@dataclass(frozen=True)
class Trust:
    """What decides the status of a prediction."""

    review_below: float = 0.9  # probability; the default serves folders without a trust.json

    @classmethod
    def fit(cls, probabilities: np.ndarray) -> "Trust":
        """From the probabilities (n, classes) of validation cells."""
        return cls(review_below=float(np.quantile(probabilities.max(1), REVIEW_SHARE)))

    @classmethod
    def load(cls, file: Path) -> "Trust":
        """From a trust.json."""
        return cls(**json.loads(file.read_text()))

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def status(self, probabilities: np.ndarray) -> tuple[str, str]:
        """(status, message) of one probability vector."""
        if probabilities.max() < self.review_below:
            return REVIEW, f"Probability below {self.review_below:.3f}: look at this cell yourself."
        return OK, ""
