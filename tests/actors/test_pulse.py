"""A worker process is well while every thread it depends on is alive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from actors.pulse import COMPANIONS, Pulse, missing_threads
from storage import pulses


@pytest.fixture
def worker() -> Iterator[dramatiq.Worker]:
    """A running worker with one queue and two actor threads."""
    broker = StubBroker()
    broker.declare_queue("compile")
    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=20)
    worker.start()
    yield worker
    worker.stop()
    broker.close()


@pytest.fixture
def companions() -> Iterator[None]:
    """Threads under the names of those that live beside the actors."""
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, name=name) for name in COMPANIONS]
    for thread in threads:
        thread.start()
    yield
    done.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("companions")
def test_with_all_threads_alive_nothing_is_missing(worker: dramatiq.Worker) -> None:
    assert missing_threads(worker) == []


@pytest.mark.usefixtures("companions")
def test_an_actor_thread_that_ended_is_missed(worker: dramatiq.Worker) -> None:
    worker.workers[0].stop()
    worker.workers[0].join()
    assert missing_threads(worker) == ["1 of 2 actor threads"]


@pytest.mark.usefixtures("companions")
def test_a_consumer_that_ended_is_missed(worker: dramatiq.Worker) -> None:
    consumer = worker.consumers["compile"]
    consumer.stop()
    consumer.join()
    assert missing_threads(worker) == ["consumer of compile"]


def test_a_worker_without_relay_and_lease_keeper_is_not_well(worker: dramatiq.Worker) -> None:
    """Such is one whose services could not be opened at its start: Dramatiq logs that and goes on."""
    assert missing_threads(worker) == list(COMPANIONS)


@pytest.mark.usefixtures("companions")
def test_the_pulse_beats_for_a_worker_that_is_well(worker: dramatiq.Worker, tmp_path: Path) -> None:
    pulse = Pulse(worker, tmp_path)
    pulse.start()
    while not pulses.ages(tmp_path, "worker"):
        assert pulse.is_alive()
    pulse.stop()
    assert pulses.ages(tmp_path, "worker") == {}


def test_it_is_silent_for_one_that_is_not(worker: dramatiq.Worker, tmp_path: Path) -> None:
    pulse = Pulse(worker, tmp_path)
    pulse.beat()
    assert pulses.ages(tmp_path, "worker") == {}


def test_leaving_on_purpose_is_no_illness(worker: dramatiq.Worker, tmp_path: Path) -> None:
    pulse = Pulse(worker, tmp_path)
    pulse.leave()
    pulse.beat()
    assert len(pulses.ages(tmp_path, "worker")) == 1
