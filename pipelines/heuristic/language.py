"""The rules of one language, read from a pattern file and checked completely before anything uses them.

A language is added by a file, not by code: copy `patterns_en.toml`, translate it, and give its path to
`load_rules_file`. All patterns ignore case, except inside `(?-i:...)`, and may use `<<NAME>>` for a macro of the
same file. Sentences are cut to `sentences.SENTENCE_CHARS` before a pattern sees them and no group may repeat without
bound, so no text can make a pattern run away.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from pipelines.claims import DEFAULT_CLAIM_KEYS

FOLDER = Path(__file__).parent

_MACRO = re.compile(r"<<([A-Z_]+)>>")
_ENDLESS_GROUP = re.compile(r"(?<!\\)\)(?:[*+]|\{\d*,\})")
_CLAIM_PART = re.compile(r"\{(\w+)\}")


class PatternFileError(ValueError):
    """A pattern file is not valid; the text names the file, the rule and the fault."""


class FactRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to state a fact about oneself.

    `triggers` are lower-case texts of which one must occur before the pattern is tried. Groups of the pattern:

    * `claim`: the value of the claim;
    * `loose`: the value when it is not capitalised;
    * `value`: what `reject` looks at when neither of these matched;
    * `fact`: the memory's text, when that is not the whole match;
    * any that the claim's key names, as in `preferences.favorite.{what}`.

    A match whose value begins with a word of `reject`, or of the language's `not_names` if `is_name`, is no fact.
    `cut` shortens the match at the language's `value_cut`. What is said `to_agent` is not looked for where people talk
    to each other.
    """

    name: str
    category: str
    triggers: tuple[str, ...]
    pattern: re.Pattern[str]
    claim: str | None = None
    is_name: bool = False
    reject: frozenset[str] = frozenset()
    cut: bool = True
    to_agent: bool = False
    confidence: float = 0.6


class GuardRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a statement none about the present: words before it in its clause, and patterns after it.

    `suppositions` are looked for back to the last `supposition_ends`, the others back to the last `clause_ends`. A
    statement that begins with its `subject` must begin its clause, or follow a word of `before_subject`, or the clause
    must begin with one of `clause_openers`.
    """

    suppositions: frozenset[str]
    supposition_ends: re.Pattern[str]
    before: frozenset[str]
    before_phrases: re.Pattern[str]
    clause_ends: re.Pattern[str]
    subject: re.Pattern[str]
    before_subject: frozenset[str]
    clause_openers: frozenset[str]
    after: re.Pattern[str]


class ProcedureRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How instructions, fixes and confirmations are worded."""

    imperatives: frozenset[str]
    not_steps: frozenset[str]
    openers: re.Pattern[str]
    continuations: re.Pattern[str]
    goal: re.Pattern[str]
    goal_triggers: tuple[str, ...]
    condition: re.Pattern[str]
    empty_condition: re.Pattern[str]
    fix: re.Pattern[str]
    fix_triggers: tuple[str, ...]
    not_fix: re.Pattern[str]
    worked: re.Pattern[str]
    worked_triggers: tuple[str, ...]
    not_worked: re.Pattern[str]
    problem_label: str


class SummaryRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a sentence worth keeping in a summary, and what does not."""

    small_talk: re.Pattern[str]
    telling: re.Pattern[str]


class LanguageRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the heuristic compiler knows about a language."""

    language: str
    abbreviations: frozenset[str]
    not_names: frozenset[str]
    value_cut: re.Pattern[str]
    macros: dict[str, str]
    fact: tuple[FactRule, ...]
    guards: GuardRules
    procedures: ProcedureRules
    summary: SummaryRules


@cache
def load_rules(language: str = "en") -> LanguageRules:
    """Load a language that ships with the server.

    Raises:
        PatternFileError: There is no such language.
    """
    path = FOLDER / f"patterns_{language}.toml"
    if not language.isalnum() or not path.exists():
        shipped = ", ".join(sorted(file.stem.removeprefix("patterns_") for file in FOLDER.glob("patterns_*.toml")))
        raise PatternFileError(f"no patterns for language {language!r}; there are: {shipped}")
    return load_rules_file(path)


def load_rules_file(path: Path) -> LanguageRules:
    """Load and check a pattern file.

    Raises:
        PatternFileError: It cannot be read, or something in it is missing, unknown or not a pattern.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        rules = msgspec.convert(document, LanguageRules, dec_hook=_pattern_reader(document))
        _check_facts(rules)
    except (OSError, ValueError) as ex:
        raise PatternFileError(f"{path}: {ex}") from ex
    return rules


def _pattern_reader(document: Mapping[str, Any]) -> Callable[[type, object], object]:
    macros = document.get("macros", {})

    def expand(text: str, depth: int = 0) -> str:
        if depth > 8:
            raise ValueError("macros refer to each other in a circle")

        def macro(found: re.Match[str]) -> str:
            if not isinstance(macros.get(found[1]), str):
                raise ValueError(f"no macro {found[1]}")
            return expand(macros[found[1]], depth + 1)

        return _MACRO.sub(macro, text)

    def read(wanted: type, value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("a pattern must be text")
        text = expand(value)
        if _ENDLESS_GROUP.search(text):
            raise ValueError("a group may not repeat without bound: write {0,9} instead of *, {1,9} instead of +")
        try:
            return re.compile(text, re.IGNORECASE)
        except re.error as ex:
            raise ValueError(f"not a pattern: {ex}") from ex

    return read


def _check_facts(rules: LanguageRules) -> None:
    seen: set[str] = set()
    for fact in rules.fact:
        if fault := _fault(fact, seen):
            raise ValueError(f"fact {fact.name!r}: {fault}")
        seen.add(fact.name)


def _fault(fact: FactRule, seen: set[str]) -> str | None:
    if fact.name in seen:
        return "the name is used twice"
    if not fact.triggers or any(not trigger or trigger != trigger.lower() for trigger in fact.triggers):
        return "triggers must be lower-case and at least one"
    if not 0 < fact.confidence <= 1:
        return "confidence must be above 0 and at most 1"
    if fact.claim is None:
        return None
    groups = fact.pattern.groupindex
    missing = [name for name in ("claim", *_CLAIM_PART.findall(fact.claim)) if name not in groups]
    if missing:
        return f"a claim needs a group {missing[0]!r} in the pattern"
    if DEFAULT_CLAIM_KEYS.cardinality(_CLAIM_PART.sub("x", fact.claim)) is None:
        return f"claim {fact.claim!r} is not a known claim key"
    return None
