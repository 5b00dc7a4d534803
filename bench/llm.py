"""The compile pipeline with a language model, on a stack of its own.

    python -m bench.llm [--scale 0.2]

The provider answers after 200 ms, over HTTP on this machine. Subjects are stored while the queue `llm` is paused; then
it is resumed. Meanwhile the provider counts how many calls are under way: the share of the slots that is busy with
waiting for the provider is what is bought with them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.conversation import load_directory
from bench.pipeline import CONVERSATIONS, QUIET_SECONDS, operator, post, send, wait_compiled
from bench.scenarios import Workload
from bench.stack import Stack, StackFailed, own_stack
from tests.fixtures.provider import Asked, Provider, run_provider

PROVIDER_SECONDS = 0.2
#: Slots, worker processes and threads of each: more threads than slots, because runs have other stages too.
SHAPES = ((4, 1, 8), (16, 2, 14))
#: An episode's heading and the beginning of its first line.
_FIRST_LINES = re.compile(r'\{"episode_index":(\d+)[^\n]*\n[^\n]*?"text":"([^"\\\n]{1,80})')

EPISODES_PER_SUBJECT = 60
#: Calls that so many episodes take, at least.
CALLS_PER_SUBJECT = 6
#: Windows of a few messages: a provider as fast as this one is not given more text than the other stages keep up with.
WINDOW_CHARS = 1000
SECONDS = 10.0
#: Seconds after the queue was resumed until all threads are at work.
SETTLING_SECONDS = 2.0


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
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual duration")
    options = parser.parse_args(arguments)
    try:
        for slots, processes, threads in SHAPES:
            print(measure(slots, processes, threads, seconds=SECONDS * options.scale).line())
    except StackFailed as ex:
        print(ex, file=sys.stderr)
        return 1
    return 0


def measure(slots: int, processes: int, threads: int, *, seconds: float) -> Measured:
    """Compile for so long."""
    with run_provider() as provider:
        provider.reply = brief
        provider.delay = PROVIDER_SECONDS
        settings = {
            "compiler_type": "llm",
            "litellm_model": "openai/gpt-4o-mini",
            "litellm_api_base": provider.url,
            "litellm_api_key": "bench",
            "compile_max_concurrency": str(slots),
            "compile_window_chars": str(WINDOW_CHARS),
            "worker_processes": str(processes),
            "worker_threads": str(threads),
            "tenant_runs_in_flight": str(processes * threads + slots),
            "auto_compile_after_seconds": str(QUIET_SECONDS),
        }
        with own_stack(log_level="WARNING", **settings) as stack:
            stack.start()
            return _watched(stack, provider, slots, seconds)


def brief(asked: Asked) -> str:
    """An answer as short as models give it, made without work: a summary of each episode, a fact of every third."""
    found = []
    for index, text in _FIRST_LINES.findall(asked.body["messages"][-1]["content"]):
        entry = {"content": f"It began with: {text}", "episode_index": int(index)}
        found.append({**entry, "kind": "episode_summary"})
        if int(index) % 3 == 0:
            found.append({**entry, "kind": "procedure", "line": 0})
    return json.dumps({"memories": found})


def _watched(stack: Stack, provider: Provider, slots: int, seconds: float) -> Measured:
    workload = Workload(load_directory(CONVERSATIONS), host=urlsplit(stack.url).netloc)
    # Every worker process loads its libraries before it counts.
    send(stack, [workload.batch(f"warm-{n}", n, 1) for n in range(4 * slots)])
    wait_compiled(stack)
    send(stack, [post(stack, "/admin/queues/llm/pause")])
    subjects = round(slots / PROVIDER_SECONDS * (seconds + SETTLING_SECONDS) / CALLS_PER_SUBJECT) + slots
    send(stack, [workload.batch(f"full-{n}", n, EPISODES_PER_SUBJECT) for n in range(subjects)])
    time.sleep(QUIET_SECONDS + 0.5)
    send(stack, [post(stack, "/admin/queues/llm/resume")])
    time.sleep(SETTLING_SECONDS)
    began, busy, asked = time.perf_counter(), provider.busy_seconds(), len(provider.asked)
    time.sleep(seconds)
    took = time.perf_counter() - began
    if not _is_work_left(stack):
        raise StackFailed("the work was done before the measurement")
    return Measured(
        slots=slots,
        busy=(provider.busy_seconds() - busy) / (slots * took),
        calls_per_second=(len(provider.asked) - asked) / took,
        most_in_flight=provider.most_in_flight,
    )


def _is_work_left(stack: Stack) -> bool:
    with operator(stack) as conn:
        row = conn.execute("select count(*) > 0 from runs where queue = 'llm' and state = 'pending'").fetchone()
    return bool(row and row[0])


if __name__ == "__main__":
    sys.exit(main())
