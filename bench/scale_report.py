"""What the scale benchmark measured, as plain data, and its tables."""

from __future__ import annotations

import msgspec

from bench.load_results import ScenarioResult
from bench.scale_plans import Plan
from cli.text_layout import table


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """A table with its indexes, in bytes."""

    table: str
    rows: int
    heap: int
    toast: int
    indexes: dict[str, int]

    @property
    def total(self) -> int:
        return self.heap + self.toast + sum(self.indexes.values())


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything measured at one number of memories. Scenarios come once with one connection and once with sixteen."""

    memories: int
    subjects: int
    seed_seconds: float
    one: list[ScenarioResult]
    sixteen: list[ScenarioResult]
    plans: list[Plan]
    sizes: list[Size]


class ScaleReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run: a small database, then the one that was asked for."""

    cores: int
    stages: list[Stage]
    memory_mb: dict[str, list[float]]


def render(report: ScaleReport) -> str:
    """The tables of a run."""
    parts = [part for stage in report.stages for part in _stage(stage)]
    parts += [_growth(report.stages[0], stage) for stage in report.stages[1:]]
    resident = "; ".join(
        f"{part} {' '.join(f'{size:.0f}' for size in sizes)}" for part, sizes in report.memory_mb.items()
    )
    parts.append(f"Resident MB at the end: {resident}\n{report.cores} cores, which client and server share.")
    return "\n\n".join(parts)


def _stage(stage: Stage) -> list[str]:
    headers = [
        "",
        *(f"{head} @{n}" for n in (1, 16) for head in ("req/s", "p50 ms", "p95 ms", "p99 ms")),
        "SQL",
        "errors",
    ]
    rows = [
        [
            one.name,
            *_figures(one),
            *_figures(sixteen),
            "" if one.statements is None else f"{one.statements:.1f}",
            str(one.errors + sixteen.errors) if one.errors + sixteen.errors else "",
        ]
        for one, sixteen in zip(stage.one, stage.sixteen, strict=True)
    ]
    failures = [f"First failure of {r.name}:\n{r.failure}" for r in (*stage.one, *stage.sixteen) if r.failure]
    title = (
        f"=== {stage.memories:,} memories of {stage.subjects:,} subjects, seeded in {stage.seed_seconds:.0f} s; "
        "connections: 1 and 16 ==="
    )
    return [f"{title}\n\n{table(headers, rows)}", *failures, _plans(stage.plans), _sizes(stage)]


def _figures(result: ScenarioResult) -> list[str]:
    return [f"{result.per_second:,.0f}", f"{result.p50:.1f}", f"{result.p95:.1f}", f"{result.p99:.1f}"]


def _plans(plans: list[Plan]) -> str:
    headers = ["request", "statement", "ms", "rows", "scanned", "hit", "read", "through"]
    rows = [
        [
            plan.request,
            plan.statement[:44],
            f"{plan.milliseconds:.2f}",
            f"{plan.rows:,}",
            f"{plan.rows_scanned:,}",
            f"{plan.buffers_hit:,}",
            f"{plan.buffers_read:,}",
            ", ".join(dict.fromkeys(plan.nodes))[:90],
        ]
        for plan in plans
    ]
    return table(headers, rows)


def _sizes(stage: Stage) -> str:
    rows = [
        [
            size.table,
            f"{size.rows:,}",
            _megabytes(size.heap),
            _megabytes(size.toast),
            _megabytes(sum(size.indexes.values())),
            ", ".join(
                f"{name} {_megabytes(bytes)}" for name, bytes in sorted(size.indexes.items(), key=lambda i: -i[1])[:3]
            ),
        ]
        for size in stage.sizes
    ]
    total = sum(size.total for size in stage.sizes)
    lines = table(["table", "rows", "heap MB", "toast MB", "indexes MB", "largest indexes, MB"], rows)
    return f"{lines}\n{total / stage.memories:,.0f} bytes per memory, its episodes and everything derived included"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _growth(small: Stage, large: Stage) -> str:
    before = {result.name: result for result in small.one}
    rows = [
        [
            result.name,
            f"{before[result.name].p50:.2f}",
            f"{result.p50:.2f}",
            f"{result.p50 / before[result.name].p50:.2f}",
        ]
        for result in large.one
        if result.name in before and before[result.name].p50
    ]
    title = f"p50 with one connection, from {small.memories:,} to {large.memories:,} memories"
    return f"{title}\n\n{table(['', 'ms before', 'ms after', 'times'], rows)}"
