"""The benchmark of governed contexts says what governing costs, and asks what the server answers."""

from __future__ import annotations

import pytest

from bench.governed import Kind, render
from bench.policies import Sample
from bench.policies import render as render_in_process


def kind(name: str, milliseconds: float, statements: float) -> Kind:
    return Kind(
        name,
        bytes,
        alone=[milliseconds] * 3,
        together=[milliseconds * 10] * 4,
        together_seconds=milliseconds / 10,
        processor_seconds=milliseconds / 1000,
        statements=statements,
    )


@pytest.mark.parametrize(("milliseconds", "said"), [(4.6, "+15.0 % over a plain context"), (5.2, "+30.0 %")])
def test_the_overhead_is_stated(milliseconds: float, said: str) -> None:
    printed = render([kind("plain", 4.0, 4.2), kind("governed", milliseconds, 4.2)])
    assert said in printed
    assert ("within the 20 %" in printed) == (milliseconds < 4.8)


def test_processor_time_here_and_in_the_database_counts_together() -> None:
    printed = render_in_process({"plain": [Sample(0.01, 0.002, 0.002, 4)], "governed": [Sample(0.02, 0.003, 0.002, 5)]})
    assert "+100.0 %" in printed and "+25.0 %" in printed
