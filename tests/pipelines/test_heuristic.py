"""The heuristic compiler: what it remembers of an episode, and what it does not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.compilation import DraftMemory, Role, Utterance
from pipelines.heuristic import PatternFileError, compile_episode, load_rules, load_rules_file
from pipelines.heuristic.compiler import MAX_PER_EPISODE
from pipelines.heuristic.language import FOLDER
from tests.pipelines.drafts import START, day, episode
from tests.pipelines.heuristic_corpus import FACTS, LOOKALIKES


def said(*turns: tuple[Role, str]) -> list[DraftMemory]:
    return compile_episode(episode(), [Utterance(None, role, text) for role, text in turns])


def of_kind(drafts: Sequence[DraftMemory], kind: str) -> list[DraftMemory]:
    return [made for made in drafts if made.kind == kind]


def facts(text: str, role: Role = "user") -> list[DraftMemory]:
    return of_kind(said((role, text)), "profile_fact")


def procedures(*turns: tuple[Role, str]) -> list[DraftMemory]:
    return of_kind(said(*turns), "procedure")


# ---------------------------------------------------------------- facts


@pytest.mark.parametrize(("text", "content", "key", "value"), FACTS)
def test_what_people_say_about_themselves_is_a_fact(
    text: str, content: str, key: str | None, value: str | None
) -> None:
    found = [(made.content, made.claim_key, made.claim_value) for made in facts(text)]
    assert found == [(content, key, value)]


@pytest.mark.parametrize("text", LOOKALIKES)
def test_what_only_looks_like_a_fact_is_none(text: str) -> None:
    assert [made.content for made in facts(text)] == []


def test_several_facts_of_one_message_are_found_in_their_order() -> None:
    found = facts("Hi, my name is Alice Johnson. I work at Globex as a data engineer, and I live in Portland, Oregon.")
    assert [made.claim_key for made in found] == [
        "identity.name",
        "employment.current_employer",
        "location.current_home",
    ]


def test_a_fact_has_the_contracts_shape() -> None:
    (made,) = facts("I work at Globex.")
    assert (made.summary, made.confidence, made.valid_from, made.valid_to) == ("I work at Globex", 0.6, START, None)
    assert made.source_episode_ids == [UUID(int=1)]
    assert made.metadata == {
        "compiler": "heuristic",
        "pattern": "employer",
        "category": "employment",
        "position": [1, 0, 0],
        "claim": {
            "schema_version": 1,
            "key": "employment.current_employer",
            "value": "Globex",
            "valid_from": "2026-01-01T00:00:00+00:00",
        },
    }


def test_preferences_are_facts_of_their_own_category() -> None:
    for text in ("I prefer email over phone", "I like green tea", "Please always use metric units"):
        assert facts(text)[0].metadata["category"] == "preference"


@pytest.mark.parametrize("role", ["agent", "system"])
def test_only_people_state_facts_about_themselves(role: Role) -> None:
    assert facts("I'm Bot. I work at Globex and I use Postgres.", role) == []


def test_text_without_a_role_is_an_agents_if_its_source_is() -> None:
    text = [Utterance(None, "unknown", "I work at Globex.")]
    assert of_kind(compile_episode(episode(source="assistant"), text), "profile_fact") == []
    assert len(of_kind(compile_episode(episode(source="chat"), text), "profile_fact")) == 1


def test_a_fact_is_told_once_in_an_episode() -> None:
    assert len(of_kind(said(("user", "I use Postgres."), ("user", "i use postgres!")), "profile_fact")) == 1


def test_between_people_a_fact_says_whose_it_is() -> None:
    chat = [
        Utterance("Caroline", "unknown", "I live in Rome."),
        Utterance("Melanie", "unknown", "Nice! I live in Oslo. Never give up."),
    ]
    found = of_kind(compile_episode(episode(), chat), "profile_fact")
    assert [(made.content, made.claim_key) for made in found] == [
        ("Caroline: I live in Rome", "location.current_home@caroline"),
        ("Melanie: I live in Oslo", "location.current_home@melanie"),
    ]
    assert [made.metadata["claim"]["key"] for made in found] == ["location.current_home"] * 2
    assert found[0].metadata["speaker"] == "Caroline"


def test_one_named_user_talking_to_an_agent_needs_no_name_in_the_fact() -> None:
    chat = [Utterance("Ada", "user", "I live in Rome."), Utterance("Bot", "agent", "Good to know.")]
    (made,) = of_kind(compile_episode(episode(), chat), "profile_fact")
    assert (made.content, made.claim_key) == ("I live in Rome", "location.current_home")


def test_a_fact_is_valid_from_its_own_message_and_a_summary_from_the_episode() -> None:
    chat = [Utterance(None, "user", "Hello there."), Utterance(None, "user", "I live in Rome.", day(4))]
    drafts = compile_episode(episode({"event_time": "2 January 2026"}), chat)
    assert {made.kind: made.valid_from for made in drafts} == {"profile_fact": day(4), "episode_summary": day(1)}
    assert drafts[0].metadata["claim"]["valid_from"] == day(4).isoformat()


def test_the_days_of_a_kind_are_stamped() -> None:
    drafts = compile_episode(
        episode(), [Utterance(None, "user", "I live in Rome.")], kind_ttl_days={"episode_summary": 30}
    )
    assert {made.kind: made.valid_to for made in drafts} == {"profile_fact": None, "episode_summary": day(30)}


# ---------------------------------------------------------------- procedures


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("To reset the router, hold the button for 10 seconds. Then unplug it.", "steps"),
        ("When the gateway returns 502, restart the proxy and check the logs.", "rule"),
        ("If a customer asks for a refund, please escalate to billing.", "rule"),
        ("The fix was to rotate the API key.", "fix"),
        ("The root cause was an expired certificate on the proxy.", "fix"),
        ("It was resolved by restarting the worker.", "fix"),
        ("Clearing the cache fixed the problem", "fix"),
    ],
)
@pytest.mark.parametrize("role", ["user", "agent"])
def test_instructions_and_fixes_are_procedures(text: str, category: str, role: Role) -> None:
    (made,) = procedures((role, text))
    assert made.content == text
    assert made.metadata["pattern"] == category


@pytest.mark.parametrize(
    "text",
    [
        "When I click save, it crashes",
        "If you need anything else, please contact us",
        "If that doesn't work, let us know",
        "If you have questions, ask away",
        "To be honest, restart is annoying",
        "To my knowledge, use is limited",
        "The issue will be resolved by Friday",
        "It should be fixed by restarting the worker",
        "It wasn't fixed by restarting the worker",
        "Maybe the fix is to restart it",
        "Was it resolved by restarting the worker?",
        "The fix is not live yet",
        "I have three cats: 1. Tom 2. Kit 3. Mia",
        "In version 1. of 2. nothing changed",
    ],
)
def test_what_only_looks_like_a_procedure_is_none(text: str) -> None:
    assert [made.content for made in procedures(("agent", text))] == []


def test_numbered_steps_are_one_procedure_with_their_heading() -> None:
    text = "Sure!\n\nHow to rotate the key:\n1. Open Settings.\n2. Click on Keys.\n3) Press Rotate.\n\nAnything else?"
    (made,) = procedures(("agent", text))
    assert made.content == "How to rotate the key:\n1. Open Settings.\n2. Click on Keys.\n3. Press Rotate."


def test_steps_may_stand_in_one_line() -> None:
    (made,) = procedures(("agent", "Here you go: Step 1: Open Settings Step 2: Click Keys Step 3: Press Rotate. Bye."))
    assert made.content == "Here you go:\n1. Open Settings\n2. Click Keys\n3. Press Rotate."


def test_a_fix_carries_the_problem_it_fixed() -> None:
    turns: list[tuple[Role, str]] = [
        ("user", "Hi! The nightly export fails with error 504."),
        ("agent", "The fix was to raise the timeout."),
    ]
    (made,) = procedures(*turns)
    assert made.content == "The fix was to raise the timeout. (Problem: The nightly export fails with error 504.)"


def test_advice_that_the_user_says_worked_is_a_procedure() -> None:
    (made,) = procedures(
        ("user", "My router keeps dropping the connection."),
        ("agent", "Sorry to hear that. Please restart the router and update its firmware. Let me know how it goes."),
        ("user", "Great, that worked!"),
    )
    assert made.content == (
        "Please restart the router and update its firmware. (Problem: My router keeps dropping the connection.)"
    )
    assert made.metadata["confirmed"] is True
    assert made.confidence == 0.8


def test_steps_that_the_user_confirms_are_trusted_more() -> None:
    steps = "1. Open Settings.\n2. Click on Keys."
    (unsure,) = procedures(("agent", steps), ("user", "Thanks, I will try"))
    (sure,) = procedures(("agent", steps), ("user", "Works now, thanks"))
    assert (unsure.confidence, sure.confidence) == (0.6, 0.8)
    assert "confirmed" not in unsure.metadata


@pytest.mark.parametrize(
    "answer",
    [
        "That didn't work",
        "It worked yesterday",
        "Has that worked?",
        "It works now but only partly",
        "I hope that worked",
        "ok",
    ],
)
def test_advice_is_no_procedure_unless_it_worked(answer: str) -> None:
    assert procedures(("user", "My router is slow."), ("agent", "Please restart the router."), ("user", answer)) == []


def test_a_system_prompt_teaches_nothing() -> None:
    assert procedures(("system", "When the user is angry, escalate to a human.")) == []


# ---------------------------------------------------------------- summaries


def summary_of(*turns: tuple[Role, str]) -> DraftMemory:
    (made,) = of_kind(said(*turns), "episode_summary")
    return made


def test_a_short_episode_is_its_own_summary() -> None:
    made = summary_of(("user", "My export fails."), ("agent", "Which one?"))
    assert made.content == made.summary == "user: My export fails.\nassistant: Which one?"
    assert made.confidence == 0.8


def test_a_text_without_a_voice_has_no_label() -> None:
    assert summary_of(("unknown", "The export failed.")).content == "The export failed."


def test_a_long_episode_keeps_what_it_was_about_and_drops_small_talk() -> None:
    chatter: list[tuple[Role, str]] = [("user", "Thanks, sounds good."), ("agent", "You're welcome!")] * 30
    made = summary_of(
        ("user", "The nightly export to Snowflake fails with error 504."),
        *chatter,
        ("agent", "The root cause was an expired token for Snowflake."),
        *chatter,
        ("user", "Snowflake export works again since 14:05."),
    )
    assert "error 504" in made.content
    assert "expired token" in made.content
    assert "14:05" in made.content
    assert "sounds good" not in made.content
    assert len(made.content) <= 500
    assert len(made.summary) <= 200
    assert made.summary.startswith("user: The nightly export to Snowflake fails with error 504.")


def test_a_summary_does_not_stop_in_the_middle_of_a_sentence_when_it_can() -> None:
    made = summary_of(
        *[("user", f"Item number {number} was delivered to the warehouse in Leipzig.") for number in range(40)]
    )
    assert made.content.endswith("Leipzig.")
    assert made.summary.endswith("Leipzig.")


@pytest.mark.parametrize("text", ["x" * 5000, "wort " * 3000, "```\n" + "code\n" * 500 + "```", "> cited\n" * 300])
def test_a_text_without_sentences_is_cut(text: str) -> None:
    made = summary_of(("user", text))
    assert 0 < len(made.content) <= 500
    assert 0 < len(made.summary) <= 200


def test_without_text_there_is_nothing_to_remember() -> None:
    assert said() == []
    assert said(("user", "  \n ")) == []


# ---------------------------------------------------------------- any text

_TEXTS = st.text(max_size=300) | st.lists(
    st.sampled_from(
        ["I", "use", "work at", "Globex", '"', ".", "1.", "2.", "open", "if", "my name is", "\n", "that worked", "not"]
    ),
    max_size=40,
).map(" ".join)
_ROLES = st.sampled_from(["user", "agent", "system", "unknown"])


@given(st.lists(st.builds(Utterance, st.sampled_from([None, "Ada", "Bo"]), _ROLES, _TEXTS), max_size=6))
def test_any_conversation_compiles_to_drafts_that_can_be_stored(chat: list[Utterance]) -> None:
    drafts = compile_episode(episode(), chat)
    assert len(of_kind(drafts, "episode_summary")) == (1 if any(one.text.strip() for one in chat) else 0)
    for made in drafts:
        assert made.content.strip()
        assert made.summary
        assert len(made.summary) <= 200
        assert "\0" not in made.content
        assert (made.claim_key is None) == (made.claim_value is None)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=DraftMemory) == made
    assert compile_episode(episode(), chat) == drafts


_BAIT = [
    *(
        "a",
        " ",
        ".",
        ". ",
        "A. ",
        "\n",
        '"',
        "```",
        ">\n",
        "1. 2. ",
        "1. Go ",
        "I use ",
        "I'm A ",
        "I work at A A ",
        "I live in A, ",
    ),
    *(
        "my email is a.a@a.",
        "call me at 1 ",
        "fixed by ing ",
        "that worked but ",
        "my order 1-",
        "we switched from a to ",
        "İ ",
    ),
    *("To go, go ", "when a, go ", "my favorite a a a is ", "we are in a/", "1. Go there 2. Run it "),
]


@pytest.mark.parametrize("bait", _BAIT)
@pytest.mark.parametrize("role", ["user", "agent"])
def test_no_text_makes_the_patterns_run_away(bait: str, role: Role) -> None:
    """A pattern that backtracks would not come back from this within the life of the test run."""
    text = (bait * (100_000 // len(bait) + 1))[:100_000]
    drafts = said(("user", "The export fails."), (role, text), ("user", "that worked"))
    assert len(of_kind(drafts, "episode_summary")) == 1


def test_an_episode_yields_a_bounded_number_of_facts() -> None:
    assert len(facts(" ".join(f"I use Tool{number}." for number in range(1000)))) == MAX_PER_EPISODE


# ---------------------------------------------------------------- languages

GERMAN = """
language = "de"
abbreviations = ["z.b"]
not_names = ["der", "die", "das", "ein"]
value_cut = '''\\s(?:aber|weil)\\b'''

[macros]
NAME = '''(?-i:[A-ZÄÖÜ])\\w{1,30}'''

[[fact]]
name = "name"
category = "identity"
triggers = ["ich heiße", "mein name ist"]
pattern = '''\\b(?:ich heiße|mein Name ist) (?P<claim><<NAME>>(?: <<NAME>>){0,2})'''
claim = "identity.name"
is_name = true
"""


def german_file(folder: Path, *changes: tuple[str, str]) -> Path:
    """The English file's guards, procedures and summaries with German facts, changed as asked."""
    english = (FOLDER / "patterns_en.toml").read_text(encoding="utf-8")
    macros = english[english.index("UPPER = ") : english.index("# ----", english.index("[macros]"))]
    text = GERMAN.replace("[macros]", f"[macros]\n{macros}") + english[english.index("[guards]") :]
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "patterns_de.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_language_is_added_by_a_file(tmp_path: Path) -> None:
    german = load_rules_file(german_file(tmp_path))
    chat = [Utterance(None, "user", "Hallo, ich heiße Jürgen Groß aber egal. I live in Rome.")]
    found = of_kind(compile_episode(episode(), chat, rules=[load_rules(), german]), "profile_fact")
    assert [(made.content, made.claim_value) for made in found] == [
        ("I live in Rome", "Rome"),
        ("ich heiße Jürgen Groß", "Jürgen Groß"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('language = "de"', "language = ", "Invalid value"),
        ('language = "de"\n', "", "language"),
        ('category = "identity"\n', "", "category"),
        ('category = "identity"', 'category = "identity"\nweight = 3', "weight"),
        ("<<NAME>>(?:", "<<NOBODY>>(?:", "no macro NOBODY"),
        ("<<NAME>>(?:", "(<<NAME>>(?:", "not a pattern"),
        ("){0,2})'''", ")*)'''", "may not repeat without bound"),
        ("){0,2})'''", "){1,})'''", "may not repeat without bound"),
        ("(?P<claim>", "(?P<name>", "needs a group 'claim'"),
        ('"identity.name"', '"identity.nom"', "not a known claim key"),
        ('"ich heiße"', '"Ich heiße"', "triggers must be lower-case"),
        ("NAME = '''", "NAME = '''<<NAME>>", "in a circle"),
        ("is_name = true", "is_name = true\nconfidence = 2", "confidence"),
    ],
)
def test_a_faulty_file_is_refused_with_its_name_and_fault(tmp_path: Path, old: str, new: str, fault: str) -> None:
    path = german_file(tmp_path, (old, new))
    with pytest.raises(PatternFileError, match=fault) as refusal:
        load_rules_file(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("language", ["xx", "../en", ""])
def test_a_language_that_does_not_ship_is_refused_with_those_that_do(language: str) -> None:
    with pytest.raises(PatternFileError, match="there are: en"):
        load_rules(language)


def test_times_are_those_of_the_event() -> None:
    drafts = compile_episode(
        episode({"event_time": "1:56 pm on 8 May, 2023"}), [Utterance(None, "user", "I live in Rome.")]
    )
    assert {made.valid_from for made in drafts} == {datetime(2023, 5, 8, 13, 56, tzinfo=UTC)}
