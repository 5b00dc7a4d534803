"""`statewave migrate`: apply pending migrations, or only say whether there are any."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from cli.process import connected_database
from config.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when something is pending")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Migrate, or check; 0 when the schema is the one this version needs."""
    database_url = connected_database(load_settings())

    import psycopg

    from storage.migrate import SchemaMismatch, migrate, schema_state

    applied: list[str] = []
    try:
        if not arguments.check:
            applied = migrate(database_url)
        state = schema_state(database_url)
    except SchemaMismatch as ex:
        print(f"statewave migrate: {ex}", file=sys.stderr)
        return 1
    except psycopg.Error as ex:
        print(f"statewave migrate: {ex}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"applied": applied, "compatible": state.is_compatible, **dataclasses.asdict(state)}))
    else:
        for version in applied:
            print(f"applied {version}")
        print(state.summary)
    return 0 if state.is_compatible else 1
