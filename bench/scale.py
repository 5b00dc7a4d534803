"""`python -m bench.scale N`: how the server behaves with N memories over 20,000 subjects, and with 10,000 of them.

A stack of its own is filled by COPY with subjects that the server's own rules compiled (`bench.scale_material`), first
to 10,000 memories, then to N with one subject of 10,000 and one of 100,000 besides; each time the same requests are
measured over HTTP with one connection and with sixteen, and every statement behind them is explained.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec
import psycopg

from bench.conversation import load_directory
from bench.load import CONVERSATIONS
from bench.load_results import ScenarioResult, memory_of, summarise
from bench.process_table import stack_processes
from bench.report import bar
from bench.scale_material import Material, make_material, question
from bench.scale_plans import Plan, explain
from bench.scale_report import ScaleReport, Size, Stage, render
from bench.scale_seed import Planned, Seeder
from bench.scenario import PROBES
from bench.scenarios import CONTEXT_TOKENS, Workload
from bench.stack import Stack, StackFailed, own_stack
from bench.statements import StatementCounter
from bench.wire import drive, encode
from config.settings import Settings
from pipelines.context import ContextRequest, assemble_context
from pipelines.embedders import open_embedder
from pipelines.search import search_memories
from pipelines.services import Services
from pipelines.subjects import list_subjects
from pipelines.timeline import read_timeline
from storage import embedded_postgres
from storage.transactions import Pool

SMALL = 10_000
SUBJECTS = 20_000
#: Subjects of 200 memories, which most requests are about.
MEASURED, MEASURED_MEMORIES = 100, 200
#: Seconds that one scenario may take with one number of connections.
SECONDS = 12.0

_TABLES = ("subjects", "episodes", "memories", "memory_versions", "passage_blocks", "passage_vectors", "runs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and return the exit code: 0, or 1 when answers were errors or the stack did not start."""
    options = _parser().parse_args(arguments)
    stages: list[Stage] = []
    try:
        with own_stack(auto_compile_after_seconds="", log_level="WARNING") as stack:
            stack.start()
            bench = _Bench(stack, options.seconds)
            stages.append(bench.stage(bench.small_plan(min(SMALL, options.memories))))
            if options.memories > SMALL:
                stages.append(bench.stage(bench.large_plan(options.memories), large=True))
            report = ScaleReport(
                cores=os.cpu_count() or 0, stages=stages, memory_mb=memory_of(stack_processes(stack.pid))
            )
    except StackFailed as ex:
        print(ex, file=sys.stderr)
        return 1
    print(render(report))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return 1 if any(result.errors for stage in stages for result in (*stage.one, *stage.sixteen)) else 0


class _Bench:
    """A running stack with what it was filled with so far."""

    def __init__(self, stack: Stack, seconds: float) -> None:
        self._stack = stack
        self._seconds = seconds
        self._host = urlsplit(stack.url).netloc
        self._random = random.Random(23)
        self._settings = Settings(database_url=embedded_postgres.url(stack.data_dir))
        embedder = open_embedder(self._settings)
        assert embedder is not None
        self._embedder = embedder
        conversations = load_directory(CONVERSATIONS)
        _say("compiling the material")
        self._material: Material = make_material(conversations, embedder)
        self._workload = Workload(conversations, host=self._host)
        self._url = embedded_postgres.url(stack.data_dir)
        self._owner = psycopg.connect(self._url, autocommit=True)
        self._seeder = Seeder(self._owner, self._material)
        self._made = 0

    def small_plan(self, memories: int) -> list[Planned]:
        """The measured subjects first, as many as fit; then small ones."""
        measured = [Planned(f"measured-{n}", MEASURED_MEMORIES) for n in range(min(MEASURED, memories // 400 or 1))]
        left = max(0, memories - len(measured) * MEASURED_MEMORIES)
        return [*measured, *(Planned(f"small-{n}", 50) for n in range(left // 50))]

    def large_plan(self, memories: int) -> list[Planned]:
        """What is missing to so many memories over `SUBJECTS` subjects, and the two large subjects besides."""
        known = len(self._seeder.told)
        count = max(1, SUBJECTS - known)
        each = max(1, (memories - self._memories()) // count)
        return [
            *(Planned(f"many-{n}", each) for n in range(count)),
            Planned("subject-of-10000", 10_000),
            Planned("subject-of-100000", 100_000),
        ]

    def stage(self, plan: list[Planned], *, large: bool = False) -> Stage:
        """Fill the database as planned, and measure it."""
        began = time.monotonic()
        _say(f"seeding {sum(planned.memories for planned in plan):,} memories")
        _shown(self._seeder.add(plan), total=sum(planned.memories for planned in plan))
        seed_seconds = time.monotonic() - began
        self._owner.execute("vacuum (analyze)")
        self._owner.execute("checkpoint")
        one, sixteen = [], []
        for scenario in self._scenarios(large=large):
            one.append(self._run(*scenario, connections=1))
            sixteen.append(self._run(*scenario, connections=16))
        return Stage(
            memories=self._memories(),
            subjects=len(self._seeder.told),
            seed_seconds=seed_seconds,
            one=one,
            sixteen=sixteen,
            plans=self._plans(large=large),
            sizes=[self._size(name) for name in _TABLES],
        )

    def _scenarios(self, *, large: bool) -> Iterable[tuple[str, Callable[[int], bytes], int]]:
        """Name, maker of request number N, and how many at most."""
        measured = [name for name in self._seeder.told if name.startswith("measured-")]
        yield "context, 200 memories", lambda n: self._context(measured[n % len(measured)]), 2000
        yield "search, semantic", lambda n: self._search(measured[n % len(measured)], semantic="true"), 2000
        yield "search, text", lambda n: self._search(measured[n % len(measured)]), 2000
        yield "timeline", lambda n: self._get("/v1/timeline", subject_id=measured[n % len(measured)], limit=100), 1000
        yield "list subjects", lambda n: self._get("/v1/subjects", limit=50, offset=50 * (n % 4)), 1000
        yield "ingest, one episode", lambda n: self._workload.single(self._fresh("one", n % 200), n), 3000
        yield "ingest, batch of 100", lambda n: self._workload.batch(self._fresh("batch", n), n, 100), 200
        yield "compile 100 episodes", lambda n: self._compile(n), 60
        if large:
            yield "context, 10,000 memories", lambda n: self._context("subject-of-10000"), 400
            yield "context, 100,000 memories", lambda n: self._context("subject-of-100000"), 150

    def _run(self, name: str, make: Callable[[int], bytes], most: int, *, connections: int) -> ScenarioResult:
        _say(f"{name}, {connections} connection{'s' if connections > 1 else ''}")
        self._made += 1
        if name.startswith("compile"):
            seed = [self._workload.batch(self._fresh("compile", n), n, 100) for n in range(most + 16 + PROBES)]
            self._answered(seed)
        requests = [make(n) for n in range(most + 16 + PROBES)]
        warm_up, requests = requests[:16], requests[16:]
        self._answered(warm_up)
        statements = None
        if connections == 1:
            statements = StatementCounter(self._stack).per_request(requests[:PROBES])
            requests = requests[PROBES:]
        measured = drive(self._stack.url, requests, connections=connections, seconds_at_most=self._seconds)
        return summarise(name, measured, unit="requests", units=1, statements=statements)

    def _fresh(self, kind: str, number: int) -> str:
        """A subject of this scenario's own: what it wrote before must not make the next one larger."""
        return f"new-{self._made}-{kind}-{number}"

    def _answered(self, requests: Sequence[bytes]) -> None:
        measured = drive(self._stack.url, requests, connections=4, seconds_at_most=300)
        if measured.errors:
            raise StackFailed(f"preparing the measurement failed: {measured.failure}")

    def _question(self, subject_id: str) -> str:
        return question(self._material, self._random, self._seeder.told[subject_id])

    def _context(self, subject_id: str) -> bytes:
        body = {"subject_id": subject_id, "task": self._question(subject_id), "max_tokens": CONTEXT_TOKENS}
        return encode("POST", "/v1/context", msgspec.json.encode(body), host=self._host)

    def _search(self, subject_id: str, **more: str) -> bytes:
        asked = self._question(subject_id)
        words = asked if more else max(asked.strip("?").split(), key=len)
        return self._get("/v1/memories/search", subject_id=subject_id, q=words, limit=20, **more)

    def _compile(self, number: int) -> bytes:
        body = {"subject_id": self._fresh("compile", number)}
        return encode("POST", "/v1/memories/compile", msgspec.json.encode(body), host=self._host)

    def _get(self, path: str, **query: object) -> bytes:
        return encode("GET", f"{path}?{urlencode(query)}", host=self._host)

    def _plans(self, *, large: bool) -> list[Plan]:
        _say("explaining")
        subjects = {"200": "measured-0"} | (
            {"10,000": "subject-of-10000", "100,000": "subject-of-100000"} if large else {}
        )
        requests: dict[str, Callable[[Pool], object]] = {}
        for size, subject_id in subjects.items():
            task = self._question(subject_id)
            requests[f"context {size}"] = lambda pool, s=subject_id, t=task: assemble_context(
                self._services(pool), "", ContextRequest(subject_id=s, task=t, max_tokens=CONTEXT_TOKENS)
            )
        word = max(self._question("measured-0").strip("?").split(), key=len)
        requests["search text"] = lambda pool: search_memories(
            self._services(pool), "", subject_id="measured-0", query=word, kind=None, semantic=False, limit=20
        )
        requests["timeline"] = lambda pool: read_timeline(
            self._services(pool), "", subject_id="measured-0", limit=100, offset=0
        )
        requests["list subjects"] = lambda pool: list_subjects(self._services(pool), "", limit=50, offset=0)
        return explain(self._url, requests)

    def _services(self, pool: Pool) -> Services:
        return Services(settings=self._settings, pool=pool, embedder=self._embedder, ping_broker=lambda: None)

    def _memories(self) -> int:
        row = self._owner.execute("select coalesce(sum(memory_count), 0)::bigint from subjects").fetchone()
        return int(row[0]) if row else 0

    def _size(self, name: str) -> Size:
        heap, toast, rows = self._owner.execute(
            "select pg_relation_size(oid), coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0),"
            " reltuples::bigint from pg_class where oid = %s::regclass",
            (name,),
        ).fetchone() or (0, 0, 0)
        indexes = self._owner.execute(
            "select indexrelid::regclass::text, pg_relation_size(indexrelid) from pg_index"
            " where indrelid = %s::regclass",
            (name,),
        ).fetchall()
        return Size(table=name, rows=max(0, rows), heap=heap, toast=toast, indexes=dict(indexes))


def _shown(portions: Iterable[int], *, total: int) -> None:
    """Do the portions while a bar on the terminal shows how much of `total` they made up."""
    began, done = time.monotonic(), 0
    for portion in portions:
        done += portion
        if sys.stderr.isatty():
            print(
                "\r" + bar("seeding memories", min(done, total), total, time.monotonic() - began),
                end="",
                file=sys.stderr,
            )
    if sys.stderr.isatty():
        print(file=sys.stderr)


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.scale", description="Load benchmark over a large database of its own.")
    parser.add_argument("memories", type=int, help="how many memories, such as 1000000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures and the plans")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="longest time of one scenario")
    return parser


if __name__ == "__main__":
    sys.exit(main())
