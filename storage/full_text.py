"""Full-text search: which configuration of PostgreSQL texts are indexed by, and queries out of whatever a caller
types.

A memory is indexed once, by the configuration of its own language, else of its tenant's. A query is put as of every
language that it or the memories may be in, so memories that were indexed before a language was known are found.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, get_args

#: Words of a query beyond this number are left out: nobody means them, and each costs a comparison per row.
MOST_WORDS = 64

# fmt: off
Configuration = Literal[
    "simple", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german",
    "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian",
    "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
]
# fmt: on

#: Configurations that PostgreSQL 14 and later come with (`pg_ts_config`); `simple` stems nothing.
CONFIGURATIONS: frozenset[str] = frozenset(get_args(Configuration))

DEFAULT = "english"

#: SQL of the configuration for a text, where a statement has a parameter `tenant`: the one named by the column that is
#: put in, if there is one; else the tenant's `text_language`; else English.
CONFIGURATION_SQL = f"""coalesce(
    (select c.oid::regconfig from pg_ts_config c
      where c.cfgname = {{language}} and c.cfgnamespace = 'pg_catalog'::regnamespace),
    (select c.oid::regconfig from pg_ts_config c join tenant_configs tc on c.cfgname = tc.config ->> 'text_language'
      where tc.tenant_id = %(tenant)s and c.cfgnamespace = 'pg_catalog'::regnamespace),
    '{DEFAULT}'::regconfig)"""

_WORD = re.compile(r"\w+")


def any_word_query(text: str) -> str:
    """The text form of a `to_tsquery` argument that matches any word of `text`; empty when it has none.

    Every word is quoted, so that no operator of the query language can come out of user text: any Unicode string
    without NUL gives a valid query.
    """
    words = dict.fromkeys(_WORD.findall(text)[:MOST_WORDS])
    return " | ".join(f"'{word}'" for word in words)


def query_sql(languages: Collection[str]) -> str:
    """SQL of the query in a parameter `query`, as of each of the languages and as of English."""
    known = sorted({DEFAULT, *languages} & CONFIGURATIONS)
    return " || ".join(f"to_tsquery('{name}', %(query)s)" for name in known)


def substring_pattern(text: str) -> str:
    """An `ilike` pattern that finds `text` itself anywhere; `%`, `_` and the escape character lose their meaning."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
