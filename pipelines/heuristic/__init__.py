"""The heuristic compiler: rules in pattern files, one per language, and the code that applies them."""

from __future__ import annotations

from pipelines.heuristic.compiler import compile_episode
from pipelines.heuristic.language import LanguageRules, PatternFileError, load_rules, load_rules_file

__all__ = ["LanguageRules", "PatternFileError", "compile_episode", "load_rules", "load_rules_file"]
