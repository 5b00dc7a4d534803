"""What the vector of a query costs: remembered by the process, on Redis, or made by the bundled model.

`python -m bench.query_cache`. A provider's time comes on top of a miss; everything else is measured here.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import redis

from pipelines.embedder_local import LocalEmbedder
from pipelines.query_vectors import QueryVectors, Vector
from storage.embedded_redis import EmbeddedRedis

QUERIES = 2000
#: Width of the vectors on Redis, as of common providers.
DIMENSIONS = 1536


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        server.start()
        try:
            _measure(redis.Redis.from_url(server.url))
        finally:
            server.stop()
    return 0


def _measure(client: redis.Redis) -> None:
    made = np.ones(DIMENSIONS, dtype=np.float32)
    texts = [f"What did they say about order {number}?" for number in range(QUERIES)]
    local = LocalEmbedder()
    local.embed_query("ready")

    def one_process() -> Callable[[str], Vector | None]:
        vectors = QueryVectors(client)
        return lambda text: vectors.of("m", text, lambda: made, is_shared=True)

    print(f"vector of a query, µs, {QUERIES:,} queries (median / 99th percentile)")
    _print("miss: Redis asked, made in no time, kept on both", one_process(), texts)
    _print("L2: another process asks the same", one_process(), texts)
    same = one_process()
    same(texts[0])
    _print("L1: the same process asks again", same, [texts[0]] * QUERIES)
    _print("bundled model, nothing remembered", local.embed_query, texts)


def _print(name: str, act: Callable[[str], object], texts: list[str]) -> None:
    took = []
    for text in texts:
        began = time.perf_counter()
        act(text)
        took.append((time.perf_counter() - began) * 1e6)
    print(f"  {name:<52} {statistics.median(took):8.1f} {statistics.quantiles(took, n=100)[98]:8.1f}")


if __name__ == "__main__":
    sys.exit(main())
