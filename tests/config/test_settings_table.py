"""The README's table of settings is the settings."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from config.settings import Settings
from config.settings_table import SECRETS, current, markdown

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_holds_the_table_of_all_settings() -> None:
    assert markdown() in README.read_text(), "run `statewave config --markdown` and paste its output into the README"


def test_secrets_are_not_shown() -> None:
    settings = Settings(api_key="s3cret", database_url="postgresql://user:s3cret@db/x")
    assert "s3cret" not in str(current(settings))


def test_whatever_is_named_like_a_secret_is_one() -> None:
    texts = [f.name for f in dataclasses.fields(Settings) if not isinstance(getattr(Settings(), f.name), bool)]
    assert {name for name in texts if re.search(r"(key|secret|dsn|database_url|redis_url)s?$", name)} <= SECRETS
    assert set(texts) >= SECRETS
