"""The page's words in its languages, from texts.toml."""

import tomllib
from functools import cache
from pathlib import Path

from cells.classes import NAMES, SPANISH, CellClass
from cells.messages import Message
from cells.review import REJECTED, Review

FILE = Path(__file__).with_name("texts.toml")
LANGUAGES = ("en", "es")
CLASS_NAMES = {"en": NAMES, "es": SPANISH}


@cache
def texts(language: str) -> dict:
    """key -> words, of one language."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))[language]


def name(label: str, language: str) -> str:
    """A class, or what a person may say in place of one, for people."""
    return CLASS_NAMES[language].get(label) or texts(language)["choice"].get(label, label)


def class_name(review: Review, label: str, language: str) -> str:
    """The same of a review, whose model may bring classes of its own."""
    if label in REJECTED and label not in review.labels:
        return name(label, language)
    return words_of(review.described(label), language)


def words_of(one: CellClass, language: str) -> str:
    """A class, for people."""
    return {"en": one.english, "es": one.spanish}[language]


def translate(message: Message | str, language: str) -> str:
    """A sentence of cells or hub in the page's language; a text without a code stays as it is."""
    known = texts(language).get("messages", {})
    if not isinstance(message, Message) or message.code not in known:
        return str(message)
    values = {key: translate(value, language) if isinstance(value, Message) else value for key, value in message.values.items()}
    return known[message.code].format(**values)


class RefusedError(Exception):
    """A call that is not answered: `code` is the key of its sentence in texts' `errors`."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code, self.values = code, values

    def sentence(self, language: str) -> str:
        return texts(language)["errors"][self.code].format(**self.values)
