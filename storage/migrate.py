"""Migrations: numbered SQL files, each applied once, in order, in one transaction.

A table `schema_migrations` remembers what ran, with the checksum of its text; an applied file that was edited
since is refused. An advisory lock lets any number of processes start at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg

#: Key of the advisory lock that one migrating process holds.
LOCK = 5_180_277_001

_TABLE = """
create table if not exists schema_migrations (
    version text primary key,
    checksum text not null,
    applied_at timestamptz not null default now()
)
"""


class SchemaMismatch(Exception):
    """The database's schema is not the one this version of the server was written for."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `storage/migrations`."""

    version: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What is applied, what this version of the server expects, and whether the two agree."""

    current: str | None
    expected: str
    pending: tuple[str, ...]
    unknown: tuple[str, ...]
    edited: tuple[str, ...]

    @property
    def is_compatible(self) -> bool:
        return not (self.pending or self.unknown or self.edited)

    @property
    def summary(self) -> str:
        """One sentence, with the command that puts things right."""
        if self.unknown:
            return (
                f"The database has migrations this server does not know ({', '.join(self.unknown)}): "
                "it was used by a newer version. Install that version or restore a backup."
            )
        if self.edited:
            return f"Applied migrations were edited afterwards ({', '.join(self.edited)}): restore their files."
        if self.pending:
            return f"Migrations are pending ({', '.join(self.pending)}). Run: statewave migrate"
        return "Schema is up to date"


def available() -> list[Migration]:
    """The migrations this version ships, oldest first."""
    folder = resources.files("storage") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(name.removesuffix(".sql"), (folder / name).read_text()) for name in names]


def schema_state(database_url: str) -> SchemaState:
    """Compare the database with the migrations this version ships."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        return schema_state_of(conn)


def require_current_schema(database_url: str) -> None:
    """Refuse to go on with any schema but the expected one.

    Raises:
        SchemaMismatch: with the command that fixes it.
    """
    state = schema_state(database_url)
    if not state.is_compatible:
        raise SchemaMismatch(state.summary)


def migrate(database_url: str) -> list[str]:
    """Apply what is pending and return the versions applied; empty when the schema was up to date.

    Raises:
        SchemaMismatch: when the database is newer than this server or an applied file was edited.
    """
    applied = []
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("select pg_advisory_lock(%s)", (LOCK,))
        conn.execute(_TABLE)
        state = schema_state_of(conn)
        if state.unknown or state.edited:
            raise SchemaMismatch(state.summary)
        for migration in available():
            if migration.version in state.pending:
                with conn.transaction():
                    conn.execute(migration.text)
                    conn.execute(
                        "insert into schema_migrations (version, checksum) values (%s, %s)",
                        (migration.version, migration.checksum),
                    )
                applied.append(migration.version)
    return applied


def schema_state_of(conn: psycopg.Connection[Any]) -> SchemaState:
    """The same over a connection that is open already."""
    row = conn.execute("select to_regclass('schema_migrations') is not null").fetchone()
    applied: dict[str, str] = {}
    if row is not None and row[0]:
        rows = conn.execute("select version, checksum from schema_migrations").fetchall()
        applied = {str(version): str(checksum) for version, checksum in rows}
    known = {migration.version: migration.checksum for migration in available()}
    return SchemaState(
        current=max(applied, default=None),
        expected=max(known),
        pending=tuple(sorted(known.keys() - applied.keys())),
        unknown=tuple(sorted(applied.keys() - known.keys())),
        edited=tuple(sorted(v for v in known.keys() & applied.keys() if known[v] != applied[v])),
    )
