"""Languages besides English: what retrieval must know of them, one TOML file each.

A file of this folder, or of `STATEWAVE_LANGUAGE_DIR`, is named by the language's code (`sv.toml`) and holds

    name              what people call it
    stemmer           a Snowball algorithm that PyStemmer has, such as "swedish"
    stop_words        words too common to tell passages apart, separated by white space
    asks_when         regular expressions of questions that ask for a time
    time_expressions  regular expressions of words that place an event in time

A text is taken to be in the language most of whose stop words it holds; English wins ties, so that a few foreign words
in an English text change nothing. Passages are stemmed by their own language, queries by theirs and as English too, so
that what was stored before a language was known is still found.
"""

from __future__ import annotations

import re
import threading
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import Stemmer

from config.errors import StatewaveError

#: Words of a text by which its language is told.
WORDS_LOOKED_AT = 200

#: Stop words of another language that a text must hold before it is no English.
LEAST_HITS = 2

FOLDER = Path(__file__).parent


class LanguageFileBroken(StatewaveError):
    """A language file cannot be used."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    stemmer: str
    stop_words: str
    asks_when: list[str] = []
    time_expressions: list[str] = []


class Language:
    """One language. Safe to share between threads."""

    def __init__(self, code: str, file: _File, normal: Any) -> None:
        self.code = code
        self.name = file.name
        self.stemmer = file.stemmer
        self.stop_words = frozenset(normal(file.stop_words).split())
        self.asks_when = _joined(file.asks_when)
        self.time_expression = _joined(file.time_expressions)
        self._stemmer = Stemmer.Stemmer(file.stemmer)
        self._lock = threading.Lock()

    def stem(self, word: str) -> str:
        """The word without its ending."""
        with self._lock:
            stem: str = self._stemmer.stemWord(word)
        return stem


class Languages:
    """All languages that a process knows besides English."""

    def __init__(self, languages: Iterable[Language], *, english: frozenset[str]) -> None:
        self.by_code: Mapping[str, Language] = {language.code: language for language in languages}
        self._english = english
        self._of_word: dict[str, list[str]] = {}
        for language in self.by_code.values():
            for word in language.stop_words:
                self._of_word.setdefault(word, []).append(language.code)

    def of(self, words: list[str], *, least: int = LEAST_HITS) -> Language | None:
        """The language of a text, by its normalised words; None for English, and for what cannot be told.

        Args:
            least: stop words that it must hold; a question is short.
        """
        of_word, looked_at = self._of_word, words[:WORDS_LOOKED_AT]
        foreign = [word for word in looked_at if word in of_word]
        # PERF: runs for every passage, and of nearly all of them this is all there is to find out.
        if len(foreign) < least:
            return None
        english = sum(map(self._english.__contains__, looked_at))
        if len(foreign) <= english:
            return None
        hits = Counter([code for word in foreign for code in of_word[word]])
        code, most = max(hits.items(), key=lambda item: (item[1], item[0]))
        return self.by_code[code] if most >= least and most > english else None


def read_language(path: Path, normal: Any) -> Language:
    """Read a file.

    Raises:
        LanguageFileBroken: naming the file, the line or key, and what is wrong there.
    """
    try:
        file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as ex:
        raise LanguageFileBroken(f"{path}: {ex}") from None
    if file.stemmer not in Stemmer.algorithms():
        raise LanguageFileBroken(f"{path}: stemmer {file.stemmer!r}: use one of {', '.join(Stemmer.algorithms())}")
    for name in ("asks_when", "time_expressions"):
        for pattern in getattr(file, name):
            try:
                re.compile(pattern)
            except re.error as ex:
                raise LanguageFileBroken(f"{path}: {name}: {pattern!r}: {ex}") from None
    return Language(path.stem, file, normal)


@cache
def load_languages(folder: str | None, normal: Any, english: frozenset[str]) -> Languages:
    """The bundled languages, and those of a folder, which replace bundled ones of the same code.

    Raises:
        LanguageFileBroken: when a file cannot be used, or the folder does not exist.
    """
    paths = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
    if folder is not None:
        if not Path(folder).is_dir():
            raise LanguageFileBroken(f"there is no folder {folder}")
        paths |= {path.stem: path for path in sorted(Path(folder).glob("*.toml"))}
    return Languages([read_language(path, normal) for path in paths.values()], english=english)


def _joined(patterns: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.I) if patterns else None
