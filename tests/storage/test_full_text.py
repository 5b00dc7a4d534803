"""Whatever is typed becomes a valid query that means its words, and a pattern that means itself."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage.full_text import CONFIGURATIONS, MOST_WORDS, any_word_query, query_sql, substring_pattern
from storage.transactions import Pool, operator_transaction

#: What can reach the query builder: requests with NUL characters or halves of surrogate pairs are refused before.
storable = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=300)


@settings(max_examples=300, deadline=None)
@given(storable)
@example("a & b | !c <-> (d:*)")
@example("it's 'quoted' \\ and \\' escaped")
@example("'; drop table memories; --")
@example("   ")
@example("ﬁ ´ ` ’ ʼ ＇ 文字 🙂 e\u0301")
def test_any_text_is_a_valid_query(shared_pool: Pool, text: str) -> None:
    with operator_transaction(shared_pool) as conn:
        row = conn.execute("select numnode(to_tsquery('english', %s))", (any_word_query(text),)).fetchone()
    assert row is not None and row[0] >= 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.from_regex(r"[a-z]{4,10}", fullmatch=True), min_size=1, max_size=5), st.data())
def test_any_word_of_the_text_matches(shared_pool: Pool, words: list[str], data: st.DataObject) -> None:
    stored = data.draw(st.sampled_from(words))
    with operator_transaction(shared_pool) as conn:
        row = conn.execute(
            "select to_tsvector('english', %(stored)s) = ''::tsvector"
            " or to_tsvector('english', %(stored)s) @@ to_tsquery('english', %(query)s)",
            {"stored": stored, "query": any_word_query(" ".join(words))},
        ).fetchone()
    assert row == (True,)


@settings(max_examples=200, deadline=None)
@given(storable, storable)
@example("100%", "100 percent")
@example("a_b", "axb")
@example("back\\slash", "backslash")
def test_a_pattern_finds_its_own_text_and_nothing_else(shared_pool: Pool, wanted: str, other: str) -> None:
    with operator_transaction(shared_pool) as conn:
        row = conn.execute(
            "select ('before ' || %(wanted)s || ' after') like %(pattern)s, %(other)s like %(pattern)s",
            {"wanted": wanted, "other": other, "pattern": substring_pattern(wanted)},
        ).fetchone()
    assert row == (True, wanted in other)


def test_a_very_long_text_is_cut_to_its_first_words() -> None:
    assert any_word_query(" ".join(f"w{i}" for i in range(1000))).count("|") == MOST_WORDS - 1


def test_every_configuration_that_a_tenant_may_name_is_there(shared_pool: Pool) -> None:
    with operator_transaction(shared_pool) as conn:
        rows = conn.execute("select cfgname from pg_ts_config").fetchall()
    assert {name for (name,) in rows} >= CONFIGURATIONS


def test_a_query_is_put_in_each_language_and_in_english() -> None:
    assert query_sql(["german", "no such language"]).split(" || ") == [
        "to_tsquery('english', %(query)s)",
        "to_tsquery('german', %(query)s)",
    ]
