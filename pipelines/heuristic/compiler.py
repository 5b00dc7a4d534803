"""The heuristic compiler: an episode in, drafts of memories out, by the rules of pattern files and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipelines.claims import claim_metadata, scoped
from pipelines.compilation import (
    EPISODE_SUMMARY,
    PROCEDURE,
    PROFILE_FACT,
    SUMMARY_CHARS,
    DraftMemory,
    EpisodeInput,
    Role,
    Utterance,
    content_hash,
    shorten,
)
from pipelines.heuristic.facts import Fact, find_facts, may_hold_facts
from pipelines.heuristic.language import LanguageRules, load_rules
from pipelines.heuristic.procedures import advice, find_procedures, says_it_worked
from pipelines.heuristic.sentences import Sentence, plain, sentences
from pipelines.heuristic.summaries import summarize
from pipelines.memory_ttl import stamp
from pipelines.structured_candidates import draft_candidates
from pipelines.temporal_anchor import episode_anchor

COMPILER = "heuristic"

SUMMARY_CONFIDENCE = 0.8
PROCEDURE_CONFIDENCE = 0.6
CONFIRMED_CONFIDENCE = 0.8

#: Facts, and procedures, of one episode. What says more than this is data and no conversation.
MAX_PER_EPISODE = 300

#: Episode sources whose text, when it has no roles of its own, is an agent's.
AGENT_SOURCES = frozenset({"assistant", "agent", "system", "tool", "support", "staff", "bot"})

#: Characters of the problem that is noted beside a fix.
_PROBLEM_CHARS = 160


def compile_episode(
    episode: EpisodeInput,
    utterances: Sequence[Utterance],
    *,
    rules: Sequence[LanguageRules] | None = None,
    kind_ttl_days: Mapping[str, int] | None = None,
) -> list[DraftMemory]:
    """Draft the memories of one episode.

    Args:
        episode: The episode. Candidates in its payload replace what the rules would find.
        utterances: What was said in it, in order. Without any text there is nothing to remember.
        rules: The languages to look for; English if not given.
        kind_ttl_days: Days for which memories of a kind are valid.
    """
    anchor = episode_anchor(episode.payload, occurred_at=episode.occurred_at, created_at=episode.created_at)
    drafts = draft_candidates(episode, anchor=anchor)
    if drafts is None:
        spoken = [utterance for utterance in utterances if utterance.text.strip()]
        languages = (load_rules(),) if rules is None else rules
        drafts = _Draft(episode, anchor).all(spoken, languages) if spoken and languages else []
    stamp(drafts, kind_ttl_days or {})
    return drafts


class _Heard:
    """An utterance made ready for the rules; its sentences are found when a rule first needs them."""

    __slots__ = ("_language", "_sentences", "lowered", "place", "role", "text", "utterance")

    def __init__(self, place: int, utterance: Utterance, role: Role) -> None:
        self.place = place
        self.utterance = utterance
        self.role = role
        self.text = plain(utterance.text)
        self.lowered = self.text.lower()
        self._sentences: list[Sentence] | None = None
        self._language = ""

    def sentences(self, rules: LanguageRules) -> list[Sentence]:
        if self._sentences is None or self._language != rules.language:
            self._sentences = sentences(self.text, rules.abbreviations)
            self._language = rules.language
        return self._sentences


class _Draft:
    """Drafts of one episode: what they have in common, and the rules applied one after the other."""

    def __init__(self, episode: EpisodeInput, anchor: datetime) -> None:
        self._episode = episode
        self._anchor = anchor
        self._seen: set[tuple[str, bytes]] = set()

    def all(self, utterances: Sequence[Utterance], languages: Sequence[LanguageRules]) -> list[DraftMemory]:
        heard = [_Heard(place, utterance, self._role(utterance)) for place, utterance in enumerate(utterances)]
        named = _people(heard)
        drafts: list[DraftMemory] = []
        for rules in languages:
            drafts += _first(self._facts(heard, named, rules))
            drafts += _first(self._procedures(heard, rules))
        told = summarize(utterances, languages[0])
        metadata = {"messages": len(utterances)}
        drafts.append(
            self._memory(EPISODE_SUMMARY, told.content, None, SUMMARY_CONFIDENCE, metadata, summary=told.summary)
        )
        return drafts

    def _role(self, utterance: Utterance) -> Role:
        if utterance.role == "unknown" and not utterance.speaker and self._episode.source.lower() in AGENT_SOURCES:
            return "agent"
        return utterance.role

    def _facts(self, heard: Sequence[_Heard], named: bool, rules: LanguageRules) -> Iterator[DraftMemory]:
        for said in heard:
            if said.role not in ("user", "unknown"):
                continue
            candidates = may_hold_facts(said.lowered, rules, among_people=named)
            if not candidates:
                continue
            speaker = said.utterance.speaker if named else None
            for fact in find_facts(said.sentences(rules), candidates, rules):
                draft = self._fact(said, fact, speaker)
                if self._is_new(draft):
                    yield draft

    def _fact(self, said: _Heard, fact: Fact, speaker: str | None) -> DraftMemory:
        metadata: dict[str, Any] = {"pattern": fact.rule.name, "category": fact.rule.category}
        if speaker:
            metadata["speaker"] = speaker
        content = f"{speaker}: {fact.text}" if speaker else fact.text
        draft = self._memory(PROFILE_FACT, content, said, fact.rule.confidence, metadata, offset=fact.offset)
        if fact.claim_key and fact.claim_value:
            draft.claim_key = scoped(fact.claim_key, speaker)
            draft.claim_value = fact.claim_value
            draft.metadata["claim"] = claim_metadata(fact.claim_key, fact.claim_value, draft.valid_from)
        return draft

    def _procedures(self, heard: Sequence[_Heard], rules: LanguageRules) -> Iterator[DraftMemory]:
        """Yield the procedures of all turns; those that the user then confirms are marked and trusted more."""
        problem = ""
        #: The latest turns of the agent since the user spoke, with what was drafted from them.
        advised: list[tuple[_Heard, list[DraftMemory]]] = []
        for said in heard:
            if said.role == "system":
                continue
            if said.role != "agent":
                problem = problem or self._problem(said, rules)
                if advised and says_it_worked(said.sentences(rules), said.lowered, rules):
                    yield from self._confirmed(advised, problem, rules)
                    advised = []
            drafts = []
            for found in find_procedures(said.text, said.lowered, said.sentences(rules), rules):
                text = self._with_problem(found.text, problem, rules) if found.category == "fix" else found.text
                metadata = {"pattern": found.category, "category": "procedure"}
                draft = self._memory(PROCEDURE, text, said, PROCEDURE_CONFIDENCE, metadata, offset=found.offset)
                if self._is_new(draft):
                    drafts.append(draft)
            yield from drafts
            if said.role == "agent":
                advised = [*advised[-1:], (said, drafts)]

    def _confirmed(
        self, advised: Sequence[tuple[_Heard, list[DraftMemory]]], problem: str, rules: LanguageRules
    ) -> Iterator[DraftMemory]:
        for said, drafts in reversed(advised):
            for draft in drafts:
                draft.confidence = CONFIRMED_CONFIDENCE
                draft.metadata["confirmed"] = True
            if drafts:
                return
            if told := advice(said.sentences(rules), rules):
                metadata = {"pattern": "advice", "category": "procedure", "confirmed": True}
                text = self._with_problem(told, problem, rules)
                draft = self._memory(PROCEDURE, text, said, CONFIRMED_CONFIDENCE, metadata)
                if self._is_new(draft):
                    yield draft
                return

    def _problem(self, said: _Heard, rules: LanguageRules) -> str:
        """The first sentence of a turn that is more than small talk."""
        for sentence in said.sentences(rules):
            if len(sentence.text.split()) >= 3 and not (
                rules.summary.small_talk.match(sentence.text) and len(sentence.text.split()) < 8
            ):
                return shorten(" ".join(sentence.text.split()), _PROBLEM_CHARS)
        return ""

    def _with_problem(self, text: str, problem: str, rules: LanguageRules) -> str:
        return text if not problem or problem in text else f"{text} ({rules.procedures.problem_label}: {problem})"

    def _is_new(self, draft: DraftMemory) -> bool:
        key = (draft.kind, draft.content_hash)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _memory(
        self,
        kind: str,
        content: str,
        said: _Heard | None,
        confidence: float,
        metadata: Mapping[str, Any],
        *,
        offset: int = 0,
        summary: str | None = None,
    ) -> DraftMemory:
        place = said.place if said else 0
        return DraftMemory(
            kind=kind,
            content=content,
            summary=shorten(content, SUMMARY_CHARS) if summary is None else summary,
            confidence=confidence,
            valid_from=(said.utterance.at if said else None) or self._anchor,
            source_episode_ids=[self._episode.id],
            metadata={"compiler": COMPILER, **metadata, "position": [self._episode.seq, place, offset]},
            content_hash=content_hash(content),
        )


def _people(heard: Sequence[_Heard]) -> bool:
    """Whether people talk to each other, so that a fact must say whose it is."""
    speakers = {said.utterance.speaker for said in heard if said.role in ("user", "unknown") and said.utterance.speaker}
    return len(speakers) > 1 or any(said.role == "unknown" and said.utterance.speaker for said in heard)


def _first(drafts: Iterator[DraftMemory]) -> list[DraftMemory]:
    return [draft for _, draft in zip(range(MAX_PER_EPISODE), drafts, strict=False)]
