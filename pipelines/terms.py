"""Words as retrieval sees them: stemmed, hashed, without the words that every text has.

The same function reads passages and tasks, so what matches is decided here alone.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from threading import Lock
from zlib import crc32

import numpy as np
import Stemmer
from numpy.typing import NDArray

#: Words too common to tell passages apart. Question words are among them: they say what is asked, not what about.
STOP_WORDS = frozenset(
    """
    i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
    it its itself they them their theirs themselves what which who whom whose this that these those am is are was were
    be been being have has had having do does did doing done a an the and but if or because as until while of at by for
    with about against between into through during before after above below to from up down in out on off over under
    again further then once here there when where why how all any both each few more most other some such no nor not
    only own same so than too very s t d ll m re ve can could will would shall should may might must just don doesn didn
    isn aren wasn weren won wouldn couldn shouldn hasn haven hadn now also
    """.split()
)

#: Remembered words; the table is emptied when it is full, so a flood of made-up words cannot fill the memory.
_MOST_REMEMBERED = 200_000

#: Characters of a word that count; longer runs are no words.
_MOST_WORD_CHARS = 64

_WORD = re.compile(r"[^\W_]+(?:[-_.@/:+#][^\W_]+)*")
_PART = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"['’ʼ](?:s|S)\b")
_CONTRACTION = re.compile(r"(?<=[^\W\d_])['’ʼ](?=[^\W\d_])")
#: Scripts written without spaces: Han, kana, Hangul syllables, Thai.
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]+")

_stemmer = Stemmer.Stemmer("english")
_stemmer_lock = Lock()
_remembered: dict[str, tuple[int, ...]] = {}


def hash_word(word: str) -> int:
    """32 bits of a word or name. In a subject of 50,000 distinct words about one pair is expected to share a hash."""
    return crc32(word.encode("utf-8", "surrogatepass"))


def term_list(text: str) -> list[int]:
    """Hashed stems of a text, in its order, repetitions included.

    Identifiers such as `INV-2043`, `a@b.example` or `10.0.0.1` give their parts and themselves as a whole. Text in
    scripts without spaces gives pairs of neighbouring characters.
    """
    out: list[int] = []
    remembered = _remembered
    for word in _WORD.findall(_prepare(text)):
        terms = remembered.get(word)
        if terms is None:
            terms = _remember(word)
        out += terms
    return out


def term_array(text: str) -> NDArray[np.uint32]:
    """`term_list` as a column."""
    return np.array(term_list(text), dtype=np.uint32)


def words_of(text: str) -> list[str]:
    """Lower-case words of a text without stemming, stop words included."""
    return _PART.findall(_prepare(text))


def _prepare(text: str) -> str:
    if not text.isascii():
        # Accents go (combining classes from 200), the voicing marks of kana stay.
        decomposed = unicodedata.normalize("NFKD", text)
        text = unicodedata.normalize("NFC", "".join([c for c in decomposed if unicodedata.combining(c) < 200]))
    if "'" in text or "’" in text or "ʼ" in text:
        text = _CONTRACTION.sub(" ", _POSSESSIVE.sub(" ", text))
    return text.lower()


def _remember(word: str) -> tuple[int, ...]:
    terms = tuple(_terms_of_word(word))
    if len(_remembered) >= _MOST_REMEMBERED:
        _remembered.clear()
    _remembered[word] = terms
    return terms


def _terms_of_word(word: str) -> list[int]:
    parts = _PART.findall(word)
    terms: list[int] = []
    for part in parts:
        terms += _terms_of_part(part)
    if len(parts) > 1 and _is_identifier(word):
        terms.append(hash_word(word[:_MOST_WORD_CHARS]))
    return terms


def _is_identifier(word: str) -> bool:
    return "@" in word or "_" in word or any(char.isdigit() for char in word)


def _terms_of_part(part: str) -> list[int]:
    if part in STOP_WORDS:
        return []
    if not part.isascii() and _UNSPACED.search(part):
        return _terms_of_unspaced(part)
    with _stemmer_lock:
        stem = _stemmer.stemWord(part[:_MOST_WORD_CHARS])
    return [hash_word(stem)]


def _terms_of_unspaced(part: str) -> list[int]:
    terms: list[int] = []
    rest = _UNSPACED.sub(" ", part).split()
    for run in _UNSPACED.findall(part):
        terms += [hash_word(run)] if len(run) == 1 else [hash_word(a + b) for a, b in pairwise(run)]
    for other in rest:
        terms += _terms_of_part(other)
    return terms
