"""Having a provider's model put the best candidates in order, as an option (`STATEWAVE_RERANK_MODEL`).

Our own ranking chooses the pool; the model reads the task with each of its passages and says how well they fit. What
it says replaces the order within the pool and nothing else. It has a time of its own: when it is over, or the model
fails, or the tenant's budget is spent, our order stands.
"""

from __future__ import annotations

from datetime import datetime

import structlog
from msgspec.structs import replace

from config.deferred import np
from pipelines.packing import rank
from pipelines.providers.account import Account, BudgetExhausted, charged_to
from pipelines.providers.calls import ProviderFailure, Ranked
from pipelines.providers.endpoints import endpoint_of
from pipelines.retrieval import Found, microseconds, source_of
from pipelines.services import Services
from storage import passage_sources
from storage.transactions import Connection

log = structlog.get_logger()

#: Characters of one passage that the model reads.
MOST_CHARS = 2000


def reranked(
    services: Services, conn: Connection, tenant_id: str, subject_id: str, found: Found, *, task: str, now: datetime
) -> Found:
    """The candidates with the best of them in the model's order; as they are when it is off or does not answer."""
    settings = services.settings
    if settings.rerank_model is None or services.desk is None or len(found.columns) < 2:
        return found
    pool = rank(found.columns, found.scores, now=microseconds(now), most=settings.rerank_max_pool)
    if len(pool) < 2:
        return found
    columns = found.columns
    sources = [source_of(columns, int(row)) for row in pool]
    texts = passage_sources.texts(conn, tenant_id, subject_id, sorted(set(sources)))
    documents = [
        texts.get(source.bytes, "")[int(columns.start[row]) : int(columns.stop[row])][:MOST_CHARS] or "-"
        for source, row in zip(sources, map(int, pool), strict=True)
    ]
    seconds = settings.rerank_timeout_seconds
    endpoint = endpoint_of(settings, settings.rerank_model, base=settings.rerank_api_base, timeout_seconds=seconds)
    try:
        with charged_to(Account(conn, settings, tenant_id, subject_id)):
            ranking = services.desk.rerank(endpoint, task, documents, timeout_seconds=seconds)
    except ProviderFailure as ex:
        log.warning("not reranked", model=ex.model, reason=ex.reason)
        return found
    except BudgetExhausted:
        log.info("not reranked", model=endpoint.model, reason="budget exhausted")
        return found
    return _in_order(found, pool, ranking.results)


def _in_order(found: Found, pool: np.ndarray[tuple[int, ...], np.dtype[np.intp]], results: list[Ranked]) -> Found:
    """The pool's totals, dealt out again in the order of the results; what those leave out comes after them."""
    named = [result.index for result in results]
    order = [*named, *(index for index in range(len(pool)) if index not in set(named))]
    total = found.scores.total.copy()
    total[pool[order]] = found.scores.total[pool]
    return replace(
        found,
        scores=replace(found.scores, total=total),
        rerank={int(pool[result.index]): round(result.score, 4) for result in results},
    )
