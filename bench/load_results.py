"""What a load run measured, as plain data, and its tables."""

from __future__ import annotations

import msgspec

from bench.process_table import Process
from bench.report import percentile
from bench.wire import Measurement
from cli.text_layout import table


class ScenarioResult(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario: rates, latencies in milliseconds, and database round trips of one request."""

    name: str
    requests: int
    errors: int
    failure: str | None
    seconds: float
    per_second: float
    unit: str
    units_per_second: float
    p50: float
    p95: float
    p99: float
    statements: float | None
    client_cpu_share: float


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. Start times are of `statewave up` until ready, first with an empty data folder, then again."""

    connections: int
    cores: int
    first_start_seconds: float
    start_seconds: float
    scenarios: list[ScenarioResult]
    memory_mb: dict[str, list[float]]


def summarise(name: str, measured: Measurement, *, unit: str, units: int, statements: float | None) -> ScenarioResult:
    """Boil a measurement down to a row."""
    latencies = measured.latencies
    return ScenarioResult(
        name=name,
        requests=len(latencies),
        errors=measured.errors,
        failure=measured.failure,
        seconds=measured.seconds,
        per_second=measured.per_second,
        unit=unit,
        units_per_second=measured.per_second * units,
        p50=percentile(latencies, 0.50),
        p95=percentile(latencies, 0.95),
        p99=percentile(latencies, 0.99),
        statements=statements,
        client_cpu_share=measured.client_cpu_seconds / measured.seconds,
    )


def memory_of(processes: list[Process]) -> dict[str, list[float]]:
    """Resident megabytes of every process, by part."""
    memory: dict[str, list[float]] = {}
    for process in processes:
        memory.setdefault(process.part, []).append(round(process.rss_mb, 1))
    return memory


def render(report: LoadReport) -> str:
    """The tables of a run."""
    headers = ["scenario", "requests", "req/s", "units/s", "p50 ms", "p95 ms", "p99 ms", "SQL/req", "client", "errors"]
    parts = [
        table(headers, [_row(result) for result in report.scenarios]),
        *_failures(report.scenarios),
        _memory(report.memory_mb),
        f"Ready after {report.first_start_seconds:.1f} s with an empty data folder, "
        f"{report.start_seconds:.1f} s the second time.",
        f"{report.connections} connections, {report.cores} cores, which client and server share. SQL/req: round trips "
        "to the database.\nclient: share of one core that the benchmark itself used.",
    ]
    return "\n\n".join(parts)


def _row(result: ScenarioResult) -> list[str]:
    return [
        result.name,
        f"{result.requests:,}",
        f"{result.per_second:,.0f}",
        f"{result.units_per_second:,.0f} {result.unit}" if result.unit != "requests" else "",
        f"{result.p50:.1f}",
        f"{result.p95:.1f}",
        f"{result.p99:.1f}",
        "" if result.statements is None else f"{result.statements:.1f}",
        f"{result.client_cpu_share:.0%}",
        f"{result.errors:,}" if result.errors else "",
    ]


def _failures(results: list[ScenarioResult]) -> list[str]:
    return [f"First failure of {result.name}:\n{result.failure}" for result in results if result.failure]


def _memory(memory_mb: dict[str, list[float]]) -> str:
    rows = [
        [part, str(len(sizes)), " ".join(f"{size:.0f}" for size in sizes[:6]) + (" ..." if len(sizes) > 6 else "")]
        for part, sizes in memory_mb.items()
    ]
    return table(["memory", "processes", "resident MB of each"], rows)
