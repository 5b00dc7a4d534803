"""Migrations are applied once, and a schema the server was not written for is refused with its remedy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from storage.migrate import SchemaMismatch, available, migrate, require_current_schema, schema_state


def test_a_migrated_database_is_up_to_date(database: str) -> None:
    assert schema_state(database).summary == "Schema is up to date"


def test_migrating_again_applies_nothing(database: str) -> None:
    assert migrate(database) == []


def test_processes_that_migrate_at_once_apply_each_file_once(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(lambda _: migrate(empty_database), range(4)))
    assert sorted(version for versions in applied for version in versions) == [m.version for m in available()]


def test_an_older_schema_is_refused_with_the_command_that_fixes_it(empty_database: str) -> None:
    with pytest.raises(SchemaMismatch, match="statewave migrate"):
        require_current_schema(empty_database)


def test_a_newer_schema_is_refused(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("insert into schema_migrations (version, checksum) values ('9999_future', 'x')")
    with pytest.raises(SchemaMismatch, match="newer version"):
        require_current_schema(database)
    with pytest.raises(SchemaMismatch, match="newer version"):
        migrate(database)


def test_an_applied_file_that_was_edited_is_refused(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("update schema_migrations set checksum = 'other'")
    with pytest.raises(SchemaMismatch, match="edited"):
        migrate(database)
