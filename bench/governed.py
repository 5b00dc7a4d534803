"""What governing costs over HTTP: a context, one under an enforcing policy, and that with a signed receipt.

    python -m bench.governed [--requests N]

On a stack of its own two tenants hold the same subjects. One of them has a policy in force and labels on every fifth
memory, so that a part of every answer is withheld and another redacted. The kinds of requests take turns, so that
whatever else the machine does happens to all of them: one by one over one connection, in rounds over sixteen.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psycopg

from bench.conversation import load_directory
from bench.policies import KEY_ID, LABEL_SOME, POLICY, SIGNING_KEYS, overhead, percent_over
from bench.process_table import stack_processes
from bench.scenario import CONNECTIONS, PROBES
from bench.scenarios import Workload
from bench.stack import Stack, StackFailed, own_stack
from bench.statements import StatementCounter
from bench.wire import drive, encode
from cli.text_layout import table
from storage import embedded_postgres

PLAIN, GOVERNED = "plain", "governed"
CONVERSATIONS = Path(__file__).parent / "conversations"
CALLER = {"caller_id": "bench", "caller_type": "bench"}

#: Requests of one kind that are sent together over several connections before it is the next kind's turn.
ROUND = 64
#: Percent that governing may cost over a plain context.
AIM = 20.0
#: Enough for both processes to have judged every subject once.
WARM_UP = 480
SECONDS_AT_MOST = 120.0

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Kind:
    """One kind of request, and what was measured of it. Times are in milliseconds."""

    name: str
    make: Callable[[], bytes]
    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)
    together_seconds: float = 0.0
    processor_seconds: float = 0.0
    statements: float = 0.0

    @property
    def per_second(self) -> float:
        return len(self.together) / self.together_seconds

    @property
    def processor_ms(self) -> float:
        return self.processor_seconds * 1000 / len(self.together)


def main() -> int:
    """Print the table and the overhead; 1 when the stack did not start."""
    arguments = argparse.ArgumentParser(prog="bench.governed", description=__doc__)
    arguments.add_argument("--requests", type=int, default=600, help="of each kind, over each number of connections")
    chosen = arguments.parse_args()
    keys = json.dumps({id: base64.b64encode(key).decode() for id, key in SIGNING_KEYS.items()})
    settings = {"auto_compile_after_seconds": "", "log_level": "WARNING", "receipt_signing_keys": keys}
    try:
        with own_stack(**settings) as stack:
            stack.start()
            kinds = _prepared(stack)
            _measure(stack, kinds, chosen.requests)
    except StackFailed as ex:
        print(ex, file=sys.stderr)
        return 1
    print(render(kinds))
    return 0


def render(kinds: Sequence[Kind]) -> str:
    """The table, with the overhead over the first kind, and what that means."""
    plain = kinds[0]
    rows = [
        [
            kind.name,
            f"{statistics.median(kind.alone):.2f}",
            overhead(statistics.median(kind.alone), statistics.median(plain.alone)),
            f"{kind.per_second:,.0f}",
            f"{statistics.median(kind.together):.1f}",
            overhead(plain.per_second, kind.per_second),
            f"{kind.processor_ms:.2f}",
            overhead(kind.processor_ms, plain.processor_ms),
            f"{kind.statements:.1f}",
        ]
        for kind in kinds
    ]
    headers = [
        "context over HTTP",
        "1 conn. p50 ms",
        "over plain",
        f"{CONNECTIONS} conn. req/s",
        "p50 ms",
        "over plain",
    ]
    full = percent_over(statistics.median(kinds[-1].alone), statistics.median(plain.alone))
    verdict = "within" if full <= AIM else "beyond"
    return (
        table([*headers, "processor ms", "over plain", "SQL/req"], rows)
        + f"\n\nGoverning costs {full:+.1f} % over a plain context (one connection, median): {verdict} the"
        f" {AIM:.0f} % that it may."
    )


def _measure(stack: Stack, kinds: Sequence[Kind], amount: int) -> None:
    counter = StatementCounter(stack)
    for kind in kinds:
        _sent(stack, [kind.make() for _ in range(WARM_UP)], CONNECTIONS)
        kind.statements = counter.per_request([kind.make() for _ in range(PROBES)])
    one_by_one = [kinds[(number + turn) % len(kinds)] for number in range(amount) for turn in range(len(kinds))]
    for kind, latency in zip(one_by_one, _sent(stack, [k.make() for k in one_by_one], 1), strict=True):
        kind.alone.append(latency)
    for number in range(max(1, amount // ROUND)):
        for turn in range(len(kinds)):
            kind = kinds[(number + turn) % len(kinds)]
            requests = [kind.make() for _ in range(ROUND)]
            before = _processor_seconds(stack)
            measured = drive(stack.url, requests, connections=CONNECTIONS, seconds_at_most=SECONDS_AT_MOST)
            kind.processor_seconds += _processor_seconds(stack) - before
            kind.together += measured.latencies
            kind.together_seconds += measured.seconds


def _sent(stack: Stack, requests: Sequence[bytes], connections: int) -> list[float]:
    """Latencies; in the order of the requests over one connection.

    Raises:
        StackFailed: when an answer is an error.
    """
    measured = drive(stack.url, requests, connections=connections, seconds_at_most=SECONDS_AT_MOST)
    if measured.errors:
        raise StackFailed(f"the measurement failed: {measured.failure}")
    return measured.latencies


def _processor_seconds(stack: Stack) -> float:
    """What the API and the database have used of the processor so far; 0 where the system does not tell."""
    ticks = 0
    for process in stack_processes(stack.pid):
        if process.part in {"API", "Postgres"}:
            try:
                fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def _prepared(stack: Stack) -> list[Kind]:
    """Both tenants told the same, one of them governed; and the kinds of requests."""
    told = load_directory(CONVERSATIONS)
    host = urlsplit(stack.url).netloc
    workloads = {tenant: Workload(told, host=host, headers={"X-Tenant-ID": tenant}) for tenant in (PLAIN, GOVERNED)}
    for workload in workloads.values():
        _sent(stack, workload.seed(), 4)
        _sent(stack, workload.compile_seed(), 4)
    policy = {"yaml_content": json.dumps(POLICY), "tenant_id": GOVERNED, "activate": True}
    config = {"policy_mode": "enforce", "receipt_signing_key_id": KEY_ID}
    to_admin = partial(_encoded, host)
    _sent(stack, [to_admin("POST", "/admin/policy/bundles", policy)], 1)
    _sent(stack, [to_admin("PATCH", f"/admin/tenants/{GOVERNED}/config", config)], 1)
    with psycopg.connect(embedded_postgres.url(stack.data_dir), autocommit=True) as conn:
        conn.execute(LABEL_SOME, {"tenant": GOVERNED})
    governed = partial(workloads[GOVERNED].context, **CALLER)
    return [
        Kind("without a policy", partial(workloads[PLAIN].context, **CALLER)),
        Kind("under an enforcing policy", governed),
        Kind("the same, with a signed receipt", partial(governed, emit_receipt=True)),
    ]


def _encoded(host: str, method: str, path: str, body: object) -> bytes:
    return encode(method, path, msgspec.json.encode(body), host=host)


if __name__ == "__main__":
    sys.exit(main())
