"""The models that the app offers."""

from cells.classifier import EMBEDDED


def names() -> list[str]:
    """The embedded models: the folders in models/, in alphabetical order."""
    return sorted(config.parent.name for config in EMBEDDED.glob("*/config.json"))
