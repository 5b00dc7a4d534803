"""The README's table of settings is the settings."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings
from config.settings_table import current, markdown

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_holds_the_table_of_all_settings() -> None:
    assert markdown() in README.read_text(), "run `statewave config --markdown` and paste its output into the README"


def test_secrets_are_not_shown() -> None:
    settings = Settings(api_key="s3cret", database_url="postgresql://user:s3cret@db/x")
    assert "s3cret" not in str(current(settings))
