"""Judge a delivered context: which turns it contains, and how much of it is evidence.

A turn counts as delivered when all of its text is there. White space is normalised first (a context may fold
a list into one line). A long turn may be delivered in passages, and with other text between them; it then
counts when each of its sentences is there, alone or together with a neighbouring sentence. Sentences too
short to be recognised for certain ("Yes.") must stand beside a neighbour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bench.conversation import Conversation, Question

#: A sentence of fewer characters may occur anywhere, so its presence alone proves nothing.
SHORTEST_TELLING_SENTENCE = 24

_SPACE = re.compile(r"\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one delivered context is worth for one question.

    `precision` is the share of the delivered text that is gold or a direct neighbour of gold, measured in
    characters, which is the same share in tokens at a fixed number of characters per token.
    """

    gold: int
    missed: tuple[str, ...]
    precision: float

    @property
    def recall(self) -> float:
        return 1 - len(self.missed) / self.gold

    @property
    def complete(self) -> bool:
        return not self.missed


def judge(conversation: Conversation, question: Question, *, delivered: str) -> Judgement:
    """Compare `delivered`, the assembled context without the task, with the evidence of `question`."""
    text = normalise(delivered)
    missed = tuple(i for i in question.evidence if not contains(text, conversation.turns[i].text))
    around = {i: None for gold in question.evidence for i in (gold, *conversation.neighbours[gold])}
    useful = sum(
        len(normalise(conversation.turns[i].text)) for i in around if contains(text, conversation.turns[i].text)
    )
    precision = min(1.0, useful / len(text)) if text else 0.0
    return Judgement(gold=len(question.evidence), missed=missed, precision=precision)


def normalise(text: str) -> str:
    """Fold every run of white space into one space."""
    return _SPACE.sub(" ", text).strip()


def contains(delivered: str, turn: str) -> bool:
    """Whether all of `turn` is in `delivered`, which must be normalised already."""
    if not normalise(turn):
        return True
    return occurs(delivered, normalise(turn)) or _contains_in_passages(delivered, turn)


def occurs(haystack: str, needle: str) -> bool:
    """Whether `needle` stands in `haystack` and neither end of it cuts a word."""
    start = haystack.find(needle)
    while start >= 0:
        end = start + len(needle)
        before = haystack[start - 1 : start] if needle[0].isalnum() else ""
        after = haystack[end : end + 1] if needle[-1].isalnum() else ""
        if not before.isalnum() and not after.isalnum():
            return True
        start = haystack.find(needle, start + 1)
    return False


def _contains_in_passages(delivered: str, turn: str) -> bool:
    sentences = [normalise(part) for part in _SENTENCE_END.split(turn) if part.strip()]
    return len(sentences) > 1 and all(
        any(occurs(delivered, piece) for piece in _telling_pieces(sentences, position))
        for position in range(len(sentences))
    )


def _telling_pieces(sentences: list[str], position: int) -> Iterator[str]:
    """The texts, each holding the sentence at `position`, whose presence proves that it was delivered."""
    alone = sentences[position]
    if len(alone) >= SHORTEST_TELLING_SENTENCE:
        yield alone
    if position:
        yield f"{sentences[position - 1]} {alone}"
    if position + 1 < len(sentences):
        yield f"{alone} {sentences[position + 1]}"


def without_task(context: str, task: str) -> str:
    """The delivered part of an assembled context: what follows the task it repeats."""
    _, found, rest = context.partition(task)
    return rest if found else context


def says_nothing_relates(delivered: str) -> bool:
    """Whether `delivered` (without the task) opens with the italic note that nothing stored relates."""
    note = delivered.partition("## ")[0].strip()
    return len(note) > 2 and note[0] in "_*" and note[0] == note[-1] and note[1] not in "_* "
