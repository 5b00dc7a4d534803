"""What a scenario of the load benchmark is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Connections that drive a scenario unless it says otherwise.
CONNECTIONS = 16

#: Requests of each kind that are spent on counting statements, outside the measurement.
PROBES = 12


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to measure.

    `units` says how many of `unit` one request is worth (a batch is 100 episodes); `seed` are requests that must be
    answered before the measurement, `warm_up` and `probes` are requests of the same kind outside of it.
    """

    name: str
    requests: Sequence[bytes]
    probes: Sequence[bytes]
    warm_up: Sequence[bytes] = ()
    seed: Sequence[bytes] = ()
    unit: str = "requests"
    units: int = 1
    connections: int = CONNECTIONS
