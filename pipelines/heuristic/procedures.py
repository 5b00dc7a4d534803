"""Finding how things are done: steps, rules of the form "when X, do Y", fixes, and advice that worked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.compilation import words
from pipelines.heuristic.guards import is_undone
from pipelines.heuristic.language import LanguageRules, ProcedureRules
from pipelines.heuristic.sentences import Sentence

#: Characters of a procedure. Longer instructions are documents, which are found as passages.
MAX_CHARS = 1000

#: Of the numbered items so many must begin like a command, or the list is no procedure.
MIN_COMMANDS = 0.6

_NUMBER = re.compile(r"(?:^|(?<=\s))(?:step )?(\d{1,2})[.):]\s+(?=\S)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Procedure:
    """Instructions found in an utterance, at a place in its plain text."""

    text: str
    category: str
    offset: int


def find_procedures(text: str, lowered: str, sentences: Sequence[Sentence], rules: LanguageRules) -> list[Procedure]:
    """Find the procedures of one utterance."""
    own = rules.procedures
    found = list(_numbered(text, own)) if "2" in lowered and "1" in lowered else []
    covered = [(steps.offset, steps.offset + len(steps.text)) for steps in found]
    goals = any(trigger in lowered for trigger in own.goal_triggers)
    fixes = any(trigger in lowered for trigger in own.fix_triggers)
    if not goals and not fixes:
        return found
    for place, sentence in enumerate(sentences):
        if any(start <= sentence.start < end for start, end in covered):
            continue
        if fixes and (fix := _fix(sentence, rules)):
            found.append(fix)
        elif goals and (steps := _goal(sentences, place, own)):
            found.append(steps)
            covered.append((sentence.start, sentence.start + len(steps.text)))
    return found


def advice(sentences: Sequence[Sentence], rules: LanguageRules) -> str:
    """Join the sentences that tell somebody what to do; empty if there are none."""
    own = rules.procedures
    told = [s.text for s in sentences if not s.text.endswith("?") and _is_step(s.text, own)]
    return _fitting(told)


def says_it_worked(sentences: Sequence[Sentence], lowered: str, rules: LanguageRules) -> bool:
    """Whether somebody confirms, without a but, that what they were told to do helped."""
    own = rules.procedures
    if not any(trigger in lowered for trigger in own.worked_triggers):
        return False
    return any(own.worked.search(s.text) and not own.not_worked.search(s.text) for s in sentences)


def _numbered(text: str, own: ProcedureRules) -> Iterator[Procedure]:
    """Yield runs of items numbered 1, 2, 3 ..., on lines of their own or within one, with the heading before them."""
    marks: list[re.Match[str]] = []
    for mark in [*_NUMBER.finditer(text), None]:
        if mark is not None and int(mark[1]) == len(marks) + 1:
            marks.append(mark)
            continue
        if len(marks) >= 2 and (steps := _steps(text, marks, own)):
            yield steps
        marks = [mark] if mark is not None and int(mark[1]) == 1 else []


def _steps(text: str, marks: Sequence[re.Match[str]], own: ProcedureRules) -> Procedure | None:
    ends = [mark.start() for mark in marks[1:]] + [_end_of_item(text, marks)]
    items = [" ".join(text[mark.end() : end].split()) for mark, end in zip(marks, ends, strict=True)]
    commands = sum(_is_step(item, own, polite=False) for item in items)
    if commands < MIN_COMMANDS * len(items):
        return None
    heading_start, heading = _heading(text, marks[0].start())
    lines = [heading] if heading else []
    lines += [f"{number}. {item}" for number, item in enumerate(items, start=1)]
    return Procedure(_fitting(lines, "\n"), "steps", heading_start)


def _end_of_item(text: str, marks: Sequence[re.Match[str]]) -> int:
    """Where the last item ends: at the end of its line, and of its sentence when the items share one line."""
    last = marks[-1].end()
    line = text.find("\n", last)
    end = len(text) if line < 0 else line
    if "\n" in text[marks[0].start() : last]:
        return end
    stop = text.find(". ", last, end)
    return end if stop < 0 else stop + 1


def _heading(text: str, start: int) -> tuple[int, str]:
    """The line before a list, or what stands before it in its own line, if that is short."""
    before = text[max(0, start - 200) : start].rstrip()
    line_start = max(before.rfind("\n"), before.rfind(". ")) + 1
    heading = before[line_start:].strip()
    if not heading or len(heading) > 160:
        return start, ""
    return start - (len(text[max(0, start - 200) : start]) - line_start), heading


def _goal(sentences: Sequence[Sentence], place: int, own: ProcedureRules) -> Procedure | None:
    sentence = sentences[place]
    found = own.goal.search(sentence.text) or own.condition.search(sentence.text)
    if found is None or sentence.text.endswith("?"):
        return None
    is_condition = "condition" in found.re.groupindex
    if is_condition and own.empty_condition.search(found["condition"]):
        return None
    if not _is_step(found["steps"], own, polite=is_condition):
        return None
    told = [sentence.text]
    for following in sentences[place + 1 :]:
        if not own.continuations.search(following.text) and not _is_step(following.text, own):
            break
        told.append(following.text)
        if sum(map(len, told)) > MAX_CHARS:
            break
    return Procedure(_fitting(told), "rule" if is_condition else "steps", sentence.start)


def _fix(sentence: Sentence, rules: LanguageRules) -> Procedure | None:
    own = rules.procedures
    found = own.fix.search(sentence.text)
    if found is None or sentence.text.endswith("?") or own.not_fix.search(sentence.text):
        return None
    if is_undone(sentence, found.start(), found.end(), rules.guards):
        return None
    return Procedure(sentence.text, "fix", sentence.start)


def _is_step(text: str, own: ProcedureRules, *, polite: bool = True) -> bool:
    """Whether a text begins with a command. A polite one may only ask to wait or to answer: that is no step."""
    opener = own.openers.match(text)
    first = next(iter(words(text[opener.end() if opener else 0 :][:40])), "")
    return first in own.imperatives and not (polite and first in own.not_steps)


def _fitting(parts: Sequence[str], joint: str = " ") -> str:
    kept: list[str] = []
    room = MAX_CHARS
    for part in parts:
        room -= len(part) + len(joint)
        if room < 0:
            break
        kept.append(part)
    return joint.join(kept)
