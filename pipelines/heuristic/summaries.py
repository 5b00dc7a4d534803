"""Saying in a few hundred characters what an episode was about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.compilation import SUMMARY_CHARS, Utterance, shorten, words
from pipelines.heuristic.language import LanguageRules
from pipelines.heuristic.sentences import plain, sentences

#: Characters of a summary's content. The contract's limit.
CONTENT_CHARS = 500

#: Characters of an episode that are read for its summary; beyond them it is sampled from its beginning and end.
MAX_READ_CHARS = 60_000

#: Characters of one chosen sentence; a longer one would be the whole summary.
_SENTENCE_CHARS = 240

_LABELS = {"user": "user", "agent": "assistant", "system": "system"}


@dataclass(frozen=True, slots=True)
class EpisodeSummary:
    """What an episode was about, at two lengths."""

    content: str
    summary: str


@dataclass(frozen=True, slots=True)
class _Line:
    place: int
    label: str
    text: str
    score: float


def summarize(utterances: Sequence[Utterance], rules: LanguageRules) -> EpisodeSummary:
    """Summarize an episode by its own words.

    A short episode is its own summary, one "role: text" line for each message. Of a longer one those sentences are
    kept, in their order, that say most: how it began and ended, what recurs in it, numbers and names, what was
    decided or went wrong; greetings and questions count less.
    """
    whole = _whole(utterances)
    if whole is not None:
        return EpisodeSummary(whole, shorten(whole, SUMMARY_CHARS))
    lines = _scored(_within_reach(utterances), rules)
    if not lines:
        # Nothing but citations: code or quoted mail.
        cited = _line(label(utterances[0]), utterances[0].text.replace("\0", "").strip())
        return EpisodeSummary(shorten(cited, CONTENT_CHARS), shorten(cited, SUMMARY_CHARS))
    content = _choose(lines, CONTENT_CHARS)
    return EpisodeSummary(content, _choose(lines, SUMMARY_CHARS))


def label(utterance: Utterance) -> str:
    """How a line of the utterance begins: by the speaker's name or role, or empty when nothing is known."""
    return utterance.speaker or _LABELS.get(utterance.role, "")


def _whole(utterances: Sequence[Utterance]) -> str | None:
    parts: list[str] = []
    room = CONTENT_CHARS
    for utterance in utterances:
        text = utterance.text.replace("\0", "").strip()
        room -= len(text)
        if room < 0:
            return None
        parts.append(_line(label(utterance), text))
    whole = "\n".join(parts)
    return whole if len(whole) <= CONTENT_CHARS else None


def _line(name: str, text: str) -> str:
    return f"{name}: {text}" if name else text


def _within_reach(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Keep the beginning and the end of an episode that is too long to read."""
    half = MAX_READ_CHARS // 2
    kept: dict[int, Utterance] = {}
    for places in (range(len(utterances)), range(len(utterances) - 1, -1, -1)):
        room = half
        for place in places:
            if room <= 0:
                break
            utterance = utterances[place]
            kept.setdefault(place, Utterance(utterance.speaker, utterance.role, utterance.text[:room], utterance.at))
            room -= len(utterance.text)
    return [kept[place] for place in sorted(kept)]


def _scored(utterances: Sequence[Utterance], rules: LanguageRules) -> list[_Line]:
    found: list[tuple[str, str, list[str]]] = []
    for utterance in utterances:
        name = label(utterance)
        for sentence in sentences(plain(utterance.text), rules.abbreviations):
            text = shorten(" ".join(sentence.text.split()), _SENTENCE_CHARS)
            found.append((name, text, words(text)))
    counts = Counter(word for _, _, said in found for word in set(said) if len(word) > 3)
    subject = next((place for place, (_, text, said) in enumerate(found) if not _is_small_talk(text, said, rules)), 0)
    edges = {len(found) - 1: 1.0, subject: 3.0}
    return [
        _Line(place, name, text, _score(text, said, counts, rules) + edges.get(place, 0.0))
        for place, (name, text, said) in enumerate(found)
    ]


def _score(text: str, said: Sequence[str], counts: Counter[str], rules: LanguageRules) -> float:
    own = rules.summary
    score = 2.0 * len({word for word in said if counts[word] > 1}) / (len(said) + 4)
    score += 1.0 if own.telling.search(text) else 0.0
    score += 0.7 if any(character.isdigit() for character in text) else 0.0
    score += 0.5 if any(word[0].isupper() and word != "I" for word in text.split()[1:]) else 0.0
    score -= 2.0 if _is_small_talk(text, said, rules) else 0.0
    score -= 0.5 if text.endswith("?") else 0.0
    return score - (1.0 if len(said) < 4 else 0.0)


def _is_small_talk(text: str, said: Sequence[str], rules: LanguageRules) -> bool:
    return len(said) < 14 and rules.summary.small_talk.match(text) is not None


def _choose(lines: Sequence[_Line], limit: int) -> str:
    """Keep the best lines that fit, in their order; if not even one fits, the beginning of the best."""
    kept: list[_Line] = []
    said: set[str] = set()
    room = limit
    for line in sorted(lines, key=lambda line: (-line.score, line.place)):
        if line.score <= 0 or line.text in said:
            continue
        said.add(line.text)
        cost = len(_line(line.label, line.text)) + 1
        if cost <= room:
            kept.append(line)
            room -= cost
        if room < 40:
            break
    if not kept:
        best = max(lines, key=lambda line: (line.score, -line.place))
        return shorten(_line(best.label, best.text), limit)
    return _joined(sorted(kept, key=lambda line: line.place))


def _joined(lines: Sequence[_Line]) -> str:
    """One line for each voice in turn."""
    parts: list[str] = []
    voice: str | None = None
    for line in lines:
        if line.label == voice:
            parts[-1] += f" {line.text}"
        else:
            parts.append(_line(line.label, line.text))
            voice = line.label
    return "\n".join(parts)
