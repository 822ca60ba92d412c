"""The page's words in its languages, from texts.toml."""

import re
import tomllib
from functools import cache
from pathlib import Path

from cells.classes import NAMES, SPANISH

FILE = Path(__file__).with_name("texts.toml")
LANGUAGES = ("en", "es")
CLASS_NAMES = {"en": NAMES, "es": SPANISH}


@cache
def texts(language: str) -> dict:
    """key -> words, of one language."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))[language]


def name(label: str, language: str) -> str:
    """A class, or what a person may say in place of one, for people."""
    return CLASS_NAMES[language].get(label) or texts(language)["choice"][label]


def translate(message: str, language: str) -> str:
    """A sentence of cells or hub in the page's language; one that is not known stays as it is."""
    for pattern, words in _messages(language):
        if found := pattern.fullmatch(message):
            return words.format(*found.groups())
    return message


@cache
def _messages(language: str) -> list[tuple[re.Pattern, str]]:
    known = texts(language).get("messages", {})
    return [(re.compile(re.escape(english).replace(r"\{\}", "(.+)"), re.DOTALL), words) for english, words in known.items()]
