"""The compile pipeline with a language model, on a stack of its own.

    python -m bench.llm [--scale 0.2]

The provider answers after 200 ms, over HTTP on this machine. Subjects are stored while the queue `llm` is paused; then
it is resumed. While the middle three fifths of the calls are made, the provider counts how many are under way: the
share of the slots that is busy with waiting for the provider is what is bought with them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.conversation import load_directory
from bench.pipeline import CONVERSATIONS, QUIET_SECONDS, post, send, wait_compiled
from bench.scenarios import Workload
from bench.stack import Stack, StackFailed, own_stack
from tests.fixtures.models import attentive
from tests.fixtures.provider import Provider, run_provider

PROVIDER_SECONDS = 0.2
#: Slots, worker processes and threads of each: more threads than slots, because runs have other stages too.
SHAPES = ((4, 1, 8), (16, 2, 14))
#: Calls to be made, for each slot.
CALLS_PER_SLOT = 40
EPISODES_PER_SUBJECT = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """What one number of slots came to."""

    slots: int
    busy: float
    calls_per_second: float
    most_in_flight: int

    def line(self) -> str:
        return (
            f"LLM pipeline, {self.slots:>2} slots        {self.busy:6.1%} of the slots busy,"
            f" {self.calls_per_second:5.1f} calls/s, at most {self.most_in_flight} at once"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 when the stack did not start."""
    parser = argparse.ArgumentParser(prog="bench.llm", description="LLM pipeline benchmark on a stack of its own.")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of calls")
    options = parser.parse_args(arguments)
    try:
        for slots, processes, threads in SHAPES:
            print(measure(slots, processes, threads, calls=round(CALLS_PER_SLOT * slots * options.scale)).line())
    except StackFailed as ex:
        print(ex, file=sys.stderr)
        return 1
    return 0


def measure(slots: int, processes: int, threads: int, *, calls: int) -> Measured:
    """Compile so many subjects, each with one call."""
    with run_provider() as provider:
        provider.reply = attentive
        provider.delay = PROVIDER_SECONDS
        settings = {
            "compiler_type": "llm",
            "litellm_model": "openai/gpt-4o-mini",
            "litellm_api_base": provider.url,
            "litellm_api_key": "bench",
            "compile_max_concurrency": str(slots),
            "worker_processes": str(processes),
            "worker_threads": str(threads),
            "tenant_runs_in_flight": str(processes * threads + slots),
            "auto_compile_after_seconds": str(QUIET_SECONDS),
        }
        with own_stack(log_level="WARNING", **settings) as stack:
            stack.start()
            return _watched(stack, provider, slots, calls)


def _watched(stack: Stack, provider: Provider, slots: int, calls: int) -> Measured:
    workload = Workload(load_directory(CONVERSATIONS), host=urlsplit(stack.url).netloc)
    # Every worker process loads its libraries before it counts.
    send(stack, [workload.batch(f"warm-{n}", n, 1) for n in range(4 * slots)])
    wait_compiled(stack)
    send(stack, [post(stack, "/admin/queues/llm/pause")])
    send(stack, [workload.batch(f"full-{n}", n, EPISODES_PER_SUBJECT) for n in range(calls)])
    time.sleep(QUIET_SECONDS + 0.5)
    before = len(provider.asked)
    send(stack, [post(stack, "/admin/queues/llm/resume")])
    began, busy_before = _when_asked(provider, before + calls // 5)
    first = len(provider.asked)
    ended, busy_after = _when_asked(provider, before + calls * 4 // 5)
    last = len(provider.asked)
    wait_compiled(stack)
    seconds = ended - began
    return Measured(
        slots=slots,
        busy=(busy_after - busy_before) / (slots * seconds),
        calls_per_second=(last - first) / seconds,
        most_in_flight=provider.most_in_flight,
    )


def _when_asked(provider: Provider, times: int) -> tuple[float, float]:
    """When the provider has been asked so often, and how many seconds it has been busy by then."""
    while len(provider.asked) < times:
        time.sleep(0.002)
    return time.perf_counter(), provider.busy_seconds()


if __name__ == "__main__":
    sys.exit(main())
