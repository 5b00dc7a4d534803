"""Every scenario of the load benchmark asks something the server answers."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from bench.conversation import load_directory
from bench.load_results import summarise
from bench.scenarios import BATCH, EPISODES_PER_SUBJECT, SEEDED_SUBJECTS, Workload
from bench.wire import Measurement, drive
from tests.fixtures.stack import RunningStack

CONVERSATIONS = Path(__file__).parents[2] / "bench" / "conversations"


def workload(host: str = "localhost") -> Workload:
    return Workload(load_directory(CONVERSATIONS), host=host)


def test_the_server_answers_every_kind_of_request(running_stack: RunningStack) -> None:
    made = workload(urlsplit(running_stack.base_url).netloc)
    kinds = {"seed": made.seed()[:4], "compile the seed": made.compile_seed()[:4]}
    for scenario in made.all_scenarios(scale=0.001):
        kinds[f"{scenario.name}, seed"] = scenario.seed[:3]
        kinds[scenario.name] = scenario.probes[:3]
    for name, requests in kinds.items():
        measured = drive(running_stack.base_url, requests, connections=2, seconds_at_most=60)
        assert measured.errors == 0, f"{name}: {measured.failure}"
        assert len(measured.latencies) == len(requests)


def test_requests_of_the_measurement_are_not_sent_before_it() -> None:
    for scenario in workload().all_scenarios(scale=0.01):
        if scenario.unit == "episodes":
            others = {*scenario.warm_up, *scenario.probes}
            assert not others & set(scenario.requests), f"{scenario.name} would measure repetitions"


def test_the_same_seed_gives_the_same_requests() -> None:
    first, second = ([scenario.requests for scenario in workload().all_scenarios(scale=0.01)] for _ in range(2))
    assert first == second


def test_the_seed_is_fifty_subjects_of_forty_two_message_episodes() -> None:
    seed = workload().seed()
    assert len(seed) == SEEDED_SUBJECTS == 50
    assert all(request.count(b'"messages"') == EPISODES_PER_SUBJECT == 40 for request in seed)
    assert all(request.count(b'"content"') == 2 * EPISODES_PER_SUBJECT for request in seed)
    assert BATCH == 100


def test_a_summary_counts_units() -> None:
    measured = Measurement(latencies=[1.0] * 98 + [50.0, 90.0], seconds=2.0, client_cpu_seconds=0.5)
    row = summarise("batches", measured, unit="episodes", units=100, statements=4.0)
    assert (row.per_second, row.units_per_second) == (50, 5000)
    assert (row.p50, row.p95, row.p99) == (1.0, 1.0, 50.0)
    assert row.client_cpu_share == 0.25
