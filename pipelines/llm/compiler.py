"""The LLM compiler: from waiting episodes to drafts, by way of a model.

Episodes are cut into windows, windows are put together into calls, and the answers become drafts. A call whose answer
is cut off or cannot be read is halved until it is small. Each answer is kept as soon as it is there, so a run that is
tried again asks only what it has no answer to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from config.settings import Settings
from pipelines.claims import ClaimKeys
from pipelines.compilation import EPISODE_SUMMARY, PROFILE_FACT, SUMMARY_CHARS, DraftMemory, Utterance, shorten
from pipelines.compilation import content_hash as hash_of
from pipelines.heuristic import load_rules
from pipelines.heuristic.summaries import summarize
from pipelines.llm.answer import Unusable, entries, salvaged
from pipelines.llm.drafts import COMPILER, Source, drafts_of
from pipelines.llm.frame import episode_records, framed
from pipelines.llm.prompts import compile_prompt, memories_schema
from pipelines.llm.windows import Window, batches_of, halves, windows_by_message, windows_of
from pipelines.memory_ttl import stamp
from pipelines.providers.calls import CompletionResult, Message, ProviderFailure
from pipelines.structured_candidates import draft_candidates
from pipelines.temporal_anchor import episode_anchor

#: Confidence of a summary that no model wrote.
_SUMMARY_CONFIDENCE = 0.8

#: Tokens of answer that an episode may need at least (contract: §8.3).
_TOKENS_PER_EPISODE = 1500

#: Threads of one run: a large subject must not keep all others waiting.
_MOST_THREADS = 8

#: Halvings of one call. Four make pieces of a sixteenth.
_MOST_HALVINGS = 4


class Ask(Protocol):
    """Asks the models that are configured for the compiler, one after the other, and keeps what it cost."""

    def __call__(self, messages: list[Message], *, json_schema: dict[str, Any], max_tokens: int) -> CompletionResult:
        """The first answer.

        Raises:
            ProviderFailure: when none answers.
        """


class Answers(Protocol):
    """Answers that a run has already; the next attempt finds them."""

    def get(self, key: str) -> bytes | None:
        """The answer under a key, if there is one."""

    def keep(self, key: str, answer: bytes) -> None:
        """Remember an answer."""


class Answer(msgspec.Struct, frozen=True):
    """Entries of one answer, as they came, and who gave it."""

    model: str
    entries: list[dict[str, Any]]


class Read(msgspec.Struct, frozen=True):
    """An episode with what was said in it."""

    source: Source
    utterances: list[Utterance]


@dataclass(frozen=True, slots=True)
class LlmCompiler:
    """Drafts memories of episodes with the help of a model."""

    ask: Ask
    answers: Answers
    settings: Settings
    claim_keys: ClaimKeys

    def compile(self, episodes: Sequence[Read]) -> list[list[DraftMemory]]:
        """Drafts of each episode, in their order.

        Raises:
            ProviderFailure: when a call failed for good or for now; what was answered until then is kept.
        """
        supplied = [draft_candidates(read.source.episode, anchor=read.source.anchor) for read in episodes]
        windows = [
            window
            for place, read in enumerate(episodes)
            if supplied[place] is None
            for window in self._windows(place, read.utterances)
        ]
        sources = [read.source for read in episodes]
        batches = batches_of(windows, chars=self.settings.compile_window_chars)
        drafted: list[list[DraftMemory]] = [[] for _ in episodes]
        places = {source.episode.id: place for place, source in enumerate(sources)}
        for drafts in self._in_parallel(batches, sources):
            for draft in drafts:
                drafted[places[draft.source_episode_ids[0]]].append(draft)
        shown = {window.episode for window in windows}
        for place, read in enumerate(episodes):
            if place in shown:
                drafted[place] = _finished(drafted[place], read)
            drafted[place] = supplied[place] or drafted[place]
            stamp(drafted[place], self.settings.kind_ttl_days)
        return drafted

    def calls_for(self, utterances: Sequence[Utterance]) -> int:
        """How many windows an episode takes."""
        return len(self._windows(0, utterances))

    def _windows(self, place: int, utterances: Sequence[Utterance]) -> list[Window]:
        settings = self.settings
        if settings.compile_message_level:
            by_message = windows_by_message(
                place,
                utterances,
                messages=settings.compile_messages_per_chunk,
                overlap=settings.compile_message_overlap,
            )
            if all(window.chars <= settings.compile_window_chars for window in by_message):
                return by_message
        return windows_of(
            place, utterances, chars=settings.compile_window_chars, overlap=settings.compile_window_overlap
        )

    def _in_parallel(self, batches: Sequence[list[Window]], sources: Sequence[Source]) -> Iterator[list[DraftMemory]]:
        """Ask about all batches, several at a time; the fleet's slots decide how many calls there really are."""
        if len(batches) < 2:
            yield from (self._drafts(batch, sources) for batch in batches)
            return
        threads = min(len(batches), self.settings.compile_max_concurrency, _MOST_THREADS)
        with ThreadPoolExecutor(threads, thread_name_prefix="llm-compile") as pool:
            futures = [pool.submit(copy_context().run, self._drafts, batch, sources) for batch in batches]
            try:
                yield from [future.result() for future in futures]
            except BaseException:
                # What has begun is finished and kept; what has not, is not begun.
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _drafts(self, batch: list[Window], sources: Sequence[Source]) -> list[DraftMemory]:
        drafts: list[DraftMemory] = []
        for asked, answer in self._answered(batch, sources):
            found = drafts_of(answer.entries, asked, sources, model=answer.model, claim_keys=self.claim_keys)
            drafts += found
            if self.settings.compile_recall_sweep:
                drafts += self._missed(asked, sources, found)
        return drafts

    def _missed(
        self, batch: list[Window], sources: Sequence[Source], found: Sequence[DraftMemory]
    ) -> list[DraftMemory]:
        """A second look at the same records, for what the first one missed."""
        beside = framed("found", ({"content": draft.content} for draft in found if draft.kind != EPISODE_SUMMARY))
        drafts: list[DraftMemory] = []
        for asked, answer in self._answered(batch, sources, beside=beside):
            more = drafts_of(answer.entries, asked, sources, model=answer.model, claim_keys=self.claim_keys, sweep=True)
            drafts += [draft for draft in more if draft.kind != EPISODE_SUMMARY]
        return drafts

    def _answered(
        self, batch: list[Window], sources: Sequence[Source], *, beside: str = "", halvings: int = 0
    ) -> Iterator[tuple[list[Window], Answer]]:
        """The batch with its answer, or its halves with theirs, down to what can be answered."""
        messages = self._messages(batch, sources, beside)
        key = answer_key(messages)
        kept = self.answers.get(key)
        if kept is not None:
            yield batch, msgspec.msgpack.decode(kept, type=Answer)
            return
        try:
            answer = self._asked(messages, len(batch), last=halvings >= _MOST_HALVINGS or halves(batch) is None)
        except (Unusable, ProviderFailure) as ex:
            parts = halves(batch) if halvings < _MOST_HALVINGS else None
            if isinstance(ex, ProviderFailure) and ex.reason != "context_window":
                raise
            if parts is None:
                raise (
                    ex
                    if isinstance(ex, ProviderFailure)
                    else ProviderFailure("unusable_answer", model=self.settings.compile_models[0])
                ) from None
            for part in parts:
                yield from self._answered(part, sources, beside=beside, halvings=halvings + 1)
            return
        self.answers.keep(key, msgspec.msgpack.encode(answer))
        yield batch, answer

    def _asked(self, messages: list[Message], episodes: int, *, last: bool) -> Answer:
        ceiling = self.settings.litellm_compile_max_tokens
        most = min(ceiling, max(ceiling // 2, _TOKENS_PER_EPISODE * episodes))
        result = self.ask(messages, json_schema=memories_schema(), max_tokens=most)
        if result.cut_off and not last:
            raise Unusable("cut off")
        try:
            found = entries(result.text)
        except Unusable:
            found = salvaged(result.text) if last else []
            if not found:
                raise
        return Answer(result.usage.model, found)

    def _messages(self, batch: list[Window], sources: Sequence[Source], beside: str) -> list[Message]:
        dates = [sources[window.episode].anchor for window in batch]
        task = compile_prompt(self.claim_keys.known, sweep=bool(beside), composed=self.settings.compile_compose_unit)
        shown = framed("episodes", episode_records(batch, dates))
        return [Message("system", task), Message("user", f"{shown}\n{beside}" if beside else shown)]


def source_of(episode: Any, utterances: Sequence[Utterance]) -> Source:
    """An episode with what all its drafts share."""
    people = {said.speaker for said in utterances if said.role in ("user", "unknown") and said.speaker}
    unnamed = any(said.role == "unknown" and said.speaker for said in utterances)
    anchor = episode_anchor(episode.payload, occurred_at=episode.occurred_at, created_at=episode.created_at)
    return Source(episode=episode, anchor=anchor, among_people=len(people) > 1 or unnamed)


def _finished(drafts: Sequence[DraftMemory], read: Read) -> list[DraftMemory]:
    """An episode's drafts without repetitions (windows overlap), with one summary in the place of one per window."""
    seen: set[tuple[str, bytes]] = set()
    kept: list[DraftMemory] = []
    summaries: list[DraftMemory] = []
    for draft in drafts:
        if (draft.kind, draft.content_hash) in seen:
            continue
        seen.add((draft.kind, draft.content_hash))
        (summaries if draft.kind == EPISODE_SUMMARY else kept).append(draft)
    kept.sort(key=lambda draft: (draft.kind != PROFILE_FACT, draft.metadata["position"]))
    return [*kept, _joined(summaries) if summaries else _own_words(read)]


def _joined(summaries: Sequence[DraftMemory]) -> DraftMemory:
    first = summaries[0]
    if len(summaries) == 1:
        return first
    content = "\n".join(draft.content for draft in summaries)
    return msgspec.structs.replace(
        first,
        content=content,
        summary=shorten(content, SUMMARY_CHARS),
        confidence=min(draft.confidence for draft in summaries),
        metadata={**first.metadata, "windows": len(summaries)},
        content_hash=hash_of(content),
    )


def _own_words(read: Read) -> DraftMemory:
    """A summary of the episode's own sentences, for a model that gave none."""
    spoken = [said for said in read.utterances if said.text.strip()]
    told = summarize(spoken, load_rules())
    source = read.source
    return DraftMemory(
        kind=EPISODE_SUMMARY,
        content=told.content,
        summary=told.summary,
        confidence=_SUMMARY_CONFIDENCE,
        valid_from=source.anchor,
        source_episode_ids=[source.episode.id],
        metadata={"compiler": COMPILER, "extractive": True, "position": [source.episode.seq, 0, 0]},
        content_hash=hash_of(told.content),
    )


def answer_key(messages: Sequence[Message]) -> str:
    """Name under which the answer to these messages is kept."""
    digest = blake2b(digest_size=12)
    for message in messages:
        digest.update(message.content.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
