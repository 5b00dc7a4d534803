"""Words as retrieval sees them: stemmed, hashed, without the words that every text has.

The same function reads passages and tasks, so what matches is decided here alone.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING
from zlib import crc32

import Stemmer

from config.deferred import np
from pipelines.languages import LEAST_HITS, WORDS_LOOKED_AT, Language, Languages, load_languages

if TYPE_CHECKING:
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
_MOST_REMEMBERED = 60_000

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
_remembered_of: dict[str, dict[str, tuple[int, ...]]] = {}
_languages: Languages | None = None


def hash_word(word: str) -> int:
    """32 bits of a word or name. In a subject of 50,000 distinct words about one pair is expected to share a hash."""
    return crc32(word.encode("utf-8", "surrogatepass"))


def use_languages(folder: str | None) -> None:
    """Know the languages of an operator's folder as well; once, at the start of a process.

    Raises:
        LanguageFileBroken: when a file there cannot be used.
    """
    global _languages
    _languages = load_languages(folder, _prepare, STOP_WORDS)


def language_of(text: str, *, least: int = LEAST_HITS) -> Language | None:
    """The language of a text; None for English, and for what cannot be told."""
    return _known().of(_PART.findall(_prepare(text)), least=least)


def full_text_language(text: str, *, least: int = LEAST_HITS) -> str | None:
    """The configuration of full-text search for a text, by its language's stemmer; None when it cannot be told.

    Args:
        least: words of a language besides English that it must hold; a question is short.
    """
    words = _PART.findall(_prepare(text))
    language = _known().of(words, least=least)
    if language is not None:
        return language.stemmer
    return "english" if any(word in STOP_WORDS for word in words[:WORDS_LOOKED_AT]) else None


def query_languages(text: str) -> set[str]:
    """Configurations of full-text search that a query is put by: its language's, or every known one where that cannot
    be told."""
    told = full_text_language(text, least=1)
    return {language.stemmer for language in _known().by_code.values()} if told is None else {told}


def term_list(text: str) -> list[int]:
    """Hashed stems of a text in its own language, in its order, repetitions included.

    Identifiers such as `INV-2043`, `a@b.example` or `10.0.0.1` give their parts and themselves as a whole. Text in
    scripts without spaces gives pairs of neighbouring characters.
    """
    return terms_and_language(text)[0]


def terms_and_language(text: str) -> tuple[list[int], Language | None]:
    """`term_list` and `language_of` of a text at once."""
    prepared = _prepare(text)
    language = _known().of(_PART.findall(prepared))
    return _terms_of(prepared, language), language


def query_terms(text: str) -> list[int]:
    """Hashed stems of a question, without repetitions: in its own language, and as of English, for what was stored
    before its language was known or could not be told."""
    prepared = _prepare(text)
    language = _known().of(_PART.findall(prepared), least=1)
    own = _terms_of(prepared, language) if language is not None else []
    if language is None:
        return list(dict.fromkeys(_terms_of(prepared, None)))
    as_english = _terms_of(" ".join(w for w in _WORD.findall(prepared) if w not in language.stop_words), None)
    return list(dict.fromkeys([*own, *as_english]))


def _known() -> Languages:
    global _languages
    if _languages is None:
        _languages = load_languages(None, _prepare, STOP_WORDS)
    return _languages


def _terms_of(prepared: str, language: Language | None) -> list[int]:
    out: list[int] = []
    remembered = _remembered if language is None else _remembered_of.setdefault(language.code, {})
    for word in _WORD.findall(prepared):
        terms = remembered.get(word)
        if terms is None:
            terms = _remember(remembered, word, language)
        out += terms
    return out


def term_array(text: str) -> NDArray[np.uint32]:
    """`term_list` as a column."""
    return np.array(term_list(text), dtype=np.uint32)


def _prepare(text: str) -> str:
    if not text.isascii():
        # Accents go (combining classes from 200), the voicing marks of kana stay.
        decomposed = unicodedata.normalize("NFKD", text)
        text = unicodedata.normalize("NFC", "".join([c for c in decomposed if unicodedata.combining(c) < 200]))
    if "'" in text or "’" in text or "ʼ" in text:
        text = _CONTRACTION.sub(" ", _POSSESSIVE.sub(" ", text))
    return text.lower()


def _remember(remembered: dict[str, tuple[int, ...]], word: str, language: Language | None) -> tuple[int, ...]:
    terms = tuple(_terms_of_word(word, language))
    if len(remembered) >= _MOST_REMEMBERED:
        remembered.clear()
    remembered[word] = terms
    return terms


def _terms_of_word(word: str, language: Language | None) -> list[int]:
    parts = _PART.findall(word)
    terms: list[int] = []
    for part in parts:
        terms += _terms_of_part(part, language)
    if len(parts) > 1 and _is_identifier(word):
        terms.append(hash_word(word[:_MOST_WORD_CHARS]))
    return terms


def _is_identifier(word: str) -> bool:
    return "@" in word or "_" in word or any(char.isdigit() for char in word)


def _terms_of_part(part: str, language: Language | None) -> list[int]:
    if part in (STOP_WORDS if language is None else language.stop_words):
        return []
    if not part.isascii() and _UNSPACED.search(part):
        return _terms_of_unspaced(part, language)
    if language is not None:
        return [hash_word(language.stem(part[:_MOST_WORD_CHARS]))]
    with _stemmer_lock:
        stem = _stemmer.stemWord(part[:_MOST_WORD_CHARS])
    return [hash_word(stem)]


def _terms_of_unspaced(part: str, language: Language | None) -> list[int]:
    terms: list[int] = []
    rest = _UNSPACED.sub(" ", part).split()
    for run in _UNSPACED.findall(part):
        terms += [hash_word(run)] if len(run) == 1 else [hash_word(a + b) for a, b in pairwise(run)]
    for other in rest:
        terms += _terms_of_part(other, language)
    return terms
