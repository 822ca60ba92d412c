"""The models that the app offers."""

from cells.classifier import DEFAULT, embedded


def names() -> list[str]:
    """The embedded models, the default one first."""
    return sorted(embedded(), key=lambda name: name != DEFAULT)
