"""Conflict resolution: what becomes of drafts that repeat, contradict or resemble what is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.claims import DEFAULT_CLAIM_KEYS
from pipelines.compilation import DraftMemory
from pipelines.conflicts import Resolution, resolve
from tests.pipelines.drafts import Store, day, draft

HOME = "location.current_home"
TOOLS = "tools.used"


def published(*batches: Sequence[DraftMemory]) -> Store:
    store = Store()
    for batch in batches:
        store.apply(batch, resolve(batch, list(store.memories.values())))
    return store


def resolved_after(known: Sequence[DraftMemory], new: Sequence[DraftMemory]) -> tuple[Store, Resolution]:
    store = published(known)
    resolution = resolve(new, list(store.memories.values()))
    store.apply(new, resolution)
    return store, resolution


# ---------------------------------------------------------------- repetitions


def test_a_repetition_adds_its_source_to_the_memory_that_is_there() -> None:
    store, resolution = resolved_after([draft("I use Postgres", 0)], [draft("i use  postgres.", 3)])
    assert [(d.index, d.reason) for d in resolution.duplicates] == [(0, "same_content")]
    (memory,) = store.memories.values()
    assert memory.content == "I use Postgres"
    assert memory.source_episode_ids == [UUID(int=1000), UUID(int=1030)]
    assert memory.valid_from == day(0)


def test_the_same_words_of_another_kind_are_another_memory() -> None:
    store = published([draft("Rotate the key"), draft("Rotate the key", kind="procedure")])
    assert len(store.active()) == 2


def test_repetitions_among_drafts_become_one_memory_with_all_sources() -> None:
    store = published([draft("I use Postgres", 4), draft("I use Postgres", 2)])
    (memory,) = store.memories.values()
    assert memory.source_episode_ids == [UUID(int=1020), UUID(int=1040)]
    assert memory.valid_from == day(2)


def test_a_repetition_renews_a_memory_that_would_expire() -> None:
    store, _ = resolved_after([draft("I use Postgres", 0, ttl_days=30)], [draft("I use Postgres", 20, ttl_days=30)])
    (memory,) = store.memories.values()
    assert memory.valid_to == day(50)


def test_a_memory_without_an_end_does_not_get_one_by_repetition() -> None:
    store, _ = resolved_after([draft("I use Postgres", 0)], [draft("I use Postgres", 20, ttl_days=30)])
    (memory,) = store.memories.values()
    assert memory.valid_to is None


def test_a_memory_learns_its_claim_from_a_repetition_that_has_one() -> None:
    store, _ = resolved_after(
        [draft("I live in Rome", 0)],
        [draft("I live in Rome", 1, key=HOME, value="Rome"), draft("I moved to Oslo", 2, key=HOME, value="Oslo")],
    )
    assert store.active() == ["I moved to Oslo"]


# ---------------------------------------------------------------- claims


def test_of_a_single_valued_claim_the_newest_value_is_true() -> None:
    store, resolution = resolved_after(
        [draft("I live in Rome", 0, key=HOME, value="Rome")], [draft("I moved to Oslo", 9, key=HOME, value="Oslo")]
    )
    assert store.active() == ["I moved to Oslo"]
    assert store.superseded() == {"I live in Rome": day(9)}
    (record,) = resolution.supersessions
    assert (record.reason, record.claim_key, record.winner) == ("claim_changed", HOME, 0)


def test_history_that_arrives_late_is_stored_as_already_superseded() -> None:
    store, resolution = resolved_after(
        [draft("I moved to Oslo", 9, key=HOME, value="Oslo")], [draft("I live in Rome", 0, key=HOME, value="Rome")]
    )
    assert store.active() == ["I moved to Oslo"]
    assert store.superseded() == {"I live in Rome": day(9)}
    assert resolution.inserts[0].status == "superseded"


def test_history_that_arrives_between_ends_when_the_next_value_began() -> None:
    store = published(
        [draft("I live in Rome", 0, key=HOME, value="Rome"), draft("I moved to Oslo", 9, key=HOME, value="Oslo")],
        [draft("I live in Lima", 5, key=HOME, value="Lima")],
    )
    assert store.active() == ["I moved to Oslo"]
    assert store.superseded()["I live in Lima"] == day(9)


def test_a_value_that_returns_is_true_again() -> None:
    rome = draft("I live in Rome", 0, key=HOME, value="Rome")
    oslo = draft("I moved to Oslo", 5, key=HOME, value="Oslo")
    back = draft("I live in Rome", 9, key=HOME, value="Rome")
    for batches in ([[rome, oslo, back]], [[rome], [oslo], [back]], [[rome, back], [oslo]]):
        store = published(*batches)
        assert store.active() == ["I live in Rome"]
        assert store.superseded()["I moved to Oslo"] == day(9)


def test_at_the_same_time_what_was_said_later_in_the_conversation_is_true() -> None:
    earlier = draft("I live in Zurich", 0, key=HOME, value="Zurich", position=(1, 0, 0))
    later = draft("I moved to Aarau", 0, key=HOME, value="Aarau", position=(1, 4, 0))
    for batch in ([earlier, later], [later, earlier]):
        assert published(batch).active() == ["I moved to Aarau"]


def test_a_claim_of_one_speaker_says_nothing_about_another() -> None:
    store = published(
        [
            draft("Caroline: I live in Rome", 0, key=f"{HOME}@caroline", value="Rome"),
            draft("Melanie: I live in Oslo", 1, key=f"{HOME}@melanie", value="Oslo"),
        ]
    )
    assert len(store.active()) == 2


def test_of_a_multi_valued_claim_all_values_stay() -> None:
    store = published(
        [
            draft("I use Postgres for the main app", 0, key=TOOLS, value="Postgres"),
            draft("I use Redis for the main app", 1, key=TOOLS, value="Redis"),
        ]
    )
    assert len(store.active()) == 2


def test_a_preference_that_is_later_denied_is_superseded() -> None:
    for negative in ("I don't like tea", "I hate tea"):
        store, resolution = resolved_after(
            [draft("I like tea", 0, key="preferences", value="tea")],
            [draft(negative, 1, key="preferences", value="tea")],
        )
        assert store.active() == [negative]
        assert resolution.supersessions[0].reason == "contradiction"


def test_the_same_claim_in_fewer_words_is_a_duplicate() -> None:
    store, resolution = resolved_after(
        [draft("I live in Oslo near the harbour", 0, key=HOME, value="Oslo")],
        [draft("I live in Oslo", 1, key=HOME, value="Oslo")],
    )
    assert store.active() == ["I live in Oslo near the harbour"]
    assert resolution.duplicates[0].reason == "same_claim"


def test_the_same_claim_with_more_said_replaces_it() -> None:
    store, resolution = resolved_after(
        [draft("I live in Oslo", 0, key=HOME, value="Oslo")],
        [draft("I live in Oslo near the harbour", 1, key=HOME, value="oslo")],
    )
    assert store.active() == ["I live in Oslo near the harbour"]
    assert resolution.supersessions[0].reason == "claim_restated"


def test_a_tenant_may_declare_further_keys() -> None:
    keys = DEFAULT_CLAIM_KEYS.with_additions({"garage.car": "single"})
    new = [
        draft("Drives a red Fiat to work", 0, key="garage.car", value="Fiat"),
        draft("Bought an electric bicycle", 1, key="garage.car", value="bicycle"),
    ]
    assert len(resolve(new, [], claim_keys=keys).supersessions) == 1
    assert resolve(new, []).supersessions == []


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("older", "newer", "reason"),
    [
        ("I prefer dark mode in the app", "I prefer light mode in the app", "similar_words"),
        ("The user likes tea", "The user likes no tea", "contradiction"),
        ("I like tea in the morning", "I do not like tea in the morning", "contradiction"),
        ("The export is enabled for the team", "The export isn't enabled for the team", "contradiction"),
        ("Works in the data team", "Works in the data team as lead", "similar_words"),
    ],
)
def test_of_two_similar_facts_the_newer_is_true(older: str, newer: str, reason: str) -> None:
    store, resolution = resolved_after([draft(older, 0)], [draft(newer, 2)])
    assert store.active() == [newer]
    (record,) = resolution.supersessions
    assert record.reason == reason
    assert record.score is not None
    assert record.score >= 0.6
    assert store.superseded() == {older: day(2)}


@pytest.mark.parametrize(
    ("older", "newer", "reason"),
    [
        ("order 123 is delayed", "order 456 is delayed", "distinct_entities"),
        ("order 123 is delayed again", "order 456 is not delayed again", "distinct_entities"),
        ("The customer pays Alice for the course", "The customer pays Bob for the course", "distinct_entities"),
        ("Bob likes green tea with honey", "Alice likes green tea with honey", "distinct_entities"),
        ("write to a@acme.io about the invoices", "write to b@acme.io about the invoices", "distinct_entities"),
        ("prefers green tea with honey and milk", "prefers green tea with honey", "widening_skipped"),
        ("In the project Alice manages Bob", "In the project Bob manages Alice", "reordered"),
    ],
)
def test_similar_words_are_not_always_a_conflict(older: str, newer: str, reason: str) -> None:
    store, resolution = resolved_after([draft(older, 0)], [draft(newer, 2)])
    assert store.active() == sorted([older, newer])
    assert [skip.reason for skip in resolution.skipped] == [reason]


def test_other_kinds_must_share_more_words_than_facts() -> None:
    texts = ("prefers dark mode in the web app", "prefers light mode in the web app")
    assert len(published([draft(texts[0], 0), draft(texts[1], 1)]).active()) == 1
    assert len(published([draft(texts[0], 0, kind="procedure"), draft(texts[1], 1, kind="procedure")]).active()) == 2


def test_memories_of_different_kinds_do_not_compete() -> None:
    store = published([draft("prefers dark mode", 0), draft("prefers dark mode now", 1, kind="procedure")])
    assert len(store.active()) == 2


def test_different_claims_do_not_compete_by_their_words() -> None:
    store = published(
        [
            draft("we use stripe for all payments", 0, key="payment.processors_used", value="stripe"),
            draft("we use stripe for all payouts", 1, key=TOOLS, value="stripe payouts"),
        ]
    )
    assert len(store.active()) == 2


def test_in_a_chain_each_memory_ends_with_the_next() -> None:
    store = published(
        [
            draft("prefers red icons in the app", 0),
            draft("prefers blue icons in the app", 5),
            draft("prefers green icons in the app", 9),
        ]
    )
    assert store.active() == ["prefers green icons in the app"]
    assert store.superseded()["prefers red icons in the app"] == day(5)


def test_nothing_is_decided_about_nothing() -> None:
    empty = Resolution(inserts=[], duplicates=[], folds=[], supersessions=[], skipped=[])
    assert resolve([], []) == empty
    store = published([draft("I use Postgres")])
    assert resolve([], list(store.memories.values())) == empty


# ---------------------------------------------------------------- rules for all drafts

_VALUES = st.sampled_from(["Rome", "Oslo", "Lima"])
_WORDS = st.lists(
    st.sampled_from("likes no not tea coffee green dark mode order 123 456 Alice Bob the in app".split()),
    min_size=1,
    max_size=7,
).map(" ".join)
_DAYS = st.integers(0, 6)


@st.composite
def _claimed(draw: st.DrawFn) -> DraftMemory:
    value = draw(_VALUES)
    key, text = draw(st.sampled_from([(HOME, "I live in {}"), (HOME, "I moved to {}"), (TOOLS, "I use {}")]))
    if key == TOOLS and draw(st.booleans()):
        text = "I don't use {}"
    return draft(text.format(value), draw(_DAYS), key=key, value=value, position=(draw(st.integers(0, 2)), 0, 0))


_drafts = st.one_of(_claimed(), st.builds(draft, _WORDS, _DAYS))
_batches = st.lists(_drafts, max_size=14)


def _state(store: Store) -> Counter[tuple[object, ...]]:
    return Counter(
        (m.kind, m.content, m.status, m.valid_from, m.valid_to, tuple(sorted(m.source_episode_ids)))
        for m in store.memories.values()
    )


@given(_batches, _batches)
def test_every_draft_is_stored_or_a_duplicate_of_something_stored(
    known: list[DraftMemory], new: list[DraftMemory]
) -> None:
    store, resolution = resolved_after(known, new)
    decided = [i.index for i in resolution.inserts] + [d.index for d in resolution.duplicates]
    assert sorted(decided) == list(range(len(new)))
    inserted = {insert.index for insert in resolution.inserts}
    for duplicate in resolution.duplicates:
        assert duplicate.of in inserted or duplicate.of in store.memories
    kept = {source for memory in store.memories.values() for source in memory.source_episode_ids}
    assert {source for made in [*known, *new] for source in made.source_episode_ids} <= kept


@given(_batches, st.data())
def test_the_order_of_drafts_does_not_matter(new: list[DraftMemory], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(new))
    assert _state(published(new)) == _state(published(shuffled))


@given(_batches, _batches)
def test_resolving_the_same_drafts_again_changes_nothing(known: list[DraftMemory], new: list[DraftMemory]) -> None:
    store, _ = resolved_after(known, new)
    before = _state(store)
    again = resolve(new, list(store.memories.values()))
    assert (again.inserts, again.folds, again.supersessions) == ([], [], [])
    store.apply(new, again)
    assert _state(store) == before


@given(_batches, _batches)
def test_a_single_valued_claim_has_one_active_value(known: list[DraftMemory], new: list[DraftMemory]) -> None:
    store, _ = resolved_after(known, new)
    active = [m for m in store.memories.values() if m.status == "active" and m.claim_key == HOME]
    assert len(active) <= 1


@given(st.lists(_claimed(), min_size=1, max_size=8), st.data())
def test_claims_come_out_the_same_however_they_arrive(new: list[DraftMemory], data: st.DataObject) -> None:
    """Whether their episodes are compiled at once or one by one in any order, the same values are true in the end."""
    for number, made in enumerate(new):
        made.source_episode_ids = [UUID(int=number)]

    def true_now(store: Store) -> set[tuple[str | None, str | None, bool]]:
        return {
            (m.claim_key, m.claim_value, "don't" in m.content) for m in store.memories.values() if m.status == "active"
        }

    one_by_one = published(*[[made] for made in data.draw(st.permutations(new))])
    assert true_now(one_by_one) == true_now(published(new))


@given(_batches, _batches)
def test_nothing_ends_before_it_began(known: list[DraftMemory], new: list[DraftMemory]) -> None:
    store, resolution = resolved_after(known, new)
    for memory in store.memories.values():
        assert memory.valid_to is None or memory.valid_to >= memory.valid_from
    winners = {s.winner for s in resolution.supersessions}
    assert all(isinstance(w, int) or w in store.memories for w in winners)
