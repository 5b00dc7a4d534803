"""A slow receiver leaves threads for others."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from config.ids import uuid7
from pipelines.webhook_lanes import Lanes


@pytest.mark.parametrize(("threads", "most"), [(1, 1), (2, 1), (4, 2), (9, 4)])
def test_an_endpoint_gets_half_of_the_threads(threads: int, most: int) -> None:
    lanes, endpoint = Lanes(threads), uuid7()
    with ExitStack() as taken:
        assert [taken.enter_context(lanes.entered(endpoint)) for _ in range(most)] == [True] * most
        assert not taken.enter_context(lanes.entered(endpoint))
    with lanes.entered(endpoint) as free:
        assert free


@pytest.mark.parametrize(("threads", "most"), [(1, 1), (2, 1), (4, 3), (9, 8)])
def test_all_endpoints_together_leave_one(threads: int, most: int) -> None:
    lanes = Lanes(threads)
    with ExitStack() as taken:
        assert [taken.enter_context(lanes.entered(uuid7())) for _ in range(most)] == [True] * most
        assert not taken.enter_context(lanes.entered(uuid7()))


def test_a_delivery_that_fails_gives_its_place_back() -> None:
    lanes, endpoint = Lanes(1), uuid7()
    with pytest.raises(RuntimeError), lanes.entered(endpoint):
        raise RuntimeError
    with lanes.entered(endpoint) as free:
        assert free
