"""`statewave config`: what the server would run with."""

from __future__ import annotations

import argparse

from config.settings import load_settings
from config.settings_table import current, markdown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="the table of all variables and their defaults")


def run(arguments: argparse.Namespace) -> int:
    """Print the settings in force; secrets only as set or not."""
    if arguments.markdown:
        print(markdown(), end="")
        return 0
    rows = current(load_settings())
    width = max(len(name) for name, _, _ in rows)
    for name, value, changed in rows:
        print(f"{'*' if changed else ' '} {name:<{width}}  {value}")
    print("\n* differs from the default")
    return 0
