"""Settings of compilation: when and how episodes become memories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from config.setting_field import setting
from config.setting_parsers import (
    boolean,
    choice,
    days_by_kind,
    integer,
    number,
    optional_seconds,
    seconds,
)


@dataclass(frozen=True, kw_only=True)
class CompilerSettings:
    """Fields carry the name of their variable without the prefix, in lower case."""

    compiler_type: str = setting(
        "heuristic", "How memories are compiled: `heuristic` (rules) or `llm` (a model)", choice("heuristic", "llm")
    )
    auto_labeling_enabled: bool = setting(
        False,
        "Suggest sensitivity labels for new memories; nothing follows from a suggestion until it is promoted",
        boolean,
    )
    auto_labeling_provider: str = setting("heuristic", "Who suggests labels", choice("heuristic"))
    compile_batch_size: int = setting(500, "Episodes that one compile run takes at most", integer(1, 5000))
    compile_max_iterations: int = setting(
        2000, "Batches that one compile run takes before another one takes over", integer(1, 100_000)
    )
    compile_fallback: str = setting(
        "none",
        "What `llm` does while no provider answers: `none` (episodes wait) or `heuristic` (compile them by rules)",
        choice("none", "heuristic"),
    )
    compile_wait_seconds: float = setting(
        25.0, "With `llm`: longest time that a synchronous compile waits for the workers", seconds(0, 600)
    )
    compile_max_concurrency: int = setting(
        4, "Calls to language models under way at the same time, over all workers", integer(1, 1000)
    )
    compile_window_chars: int = setting(
        6000, "Characters of episodes that a model is shown in one call", integer(500, 200_000)
    )
    compile_window_overlap: int = setting(
        200, "Characters of a long episode's window that the next one repeats", integer(0, 10_000)
    )
    compile_message_level: bool = setting(
        False, "Show models a few messages at a time instead of full windows", boolean
    )
    compile_messages_per_chunk: int = setting(6, "Messages of such a piece", integer(1, 100))
    compile_message_overlap: int = setting(1, "Messages that the next such piece repeats", integer(0, 50))
    compile_recall_sweep: bool = setting(False, "Ask a second time for what the first answer missed", boolean)
    compile_compose_unit: bool = setting(
        False, "Have models tell all about one matter in one memory, in place of a memory for each fact", boolean
    )
    dedup_compile_enabled: bool = setting(
        True, "With `llm`: drop memories that say what a stored one says in other words", boolean
    )
    dedup_semantic_enabled: bool = setting(
        True, "Find those by likeness of vectors; without, only the same words are the same", boolean
    )
    dedup_sim_threshold: float = setting(0.95, "Cosine from which two memories say the same", number(0.5, 1))
    dedup_max_candidates: int = setting(4000, "Stored memories that new ones are compared with", integer(1, 100_000))
    reconcile_compile_enabled: bool = setting(
        True, "With `llm`: let the model compare new memories with stored ones that are near", boolean
    )
    reconcile_max_candidates: int = setting(
        4000, "Stored memories among which the near ones are looked for", integer(1, 100_000)
    )
    reconcile_chunk_size: int = setting(40, "New memories compared in one call", integer(1, 200))
    reconcile_max_existing: int = setting(60, "Stored memories shown in one call", integer(1, 500))
    reconcile_top_k_per_candidate: int = setting(
        5, "Stored memories that each new one is compared with", integer(1, 50)
    )
    auto_compile_after_seconds: float | None = setting(
        5.0, "Quiet time after an episode until its subject is compiled; empty turns it off", optional_seconds(0, 86400)
    )
    auto_compile_at_latest_seconds: float = setting(
        60.0, "Longest time a subject that never goes quiet waits for its compilation", seconds(0, 86400)
    )
    compile_job_retention_hours: int = setting(
        168, "Hours that finished runs are kept; 0 keeps them for ever", integer(0, 24 * 3650)
    )
    kind_ttl_days: Mapping[str, int] = setting(
        {}, "Days until memories of a kind expire, as a JSON object; empty means never", days_by_kind
    )
