"""The WSGI application: middleware around the operations of all resources."""

from __future__ import annotations

from typing import Any

import falcon

from api import errors
from api.middleware.access import Access
from api.middleware.cors import Cors
from api.middleware.measuring import Measuring
from api.middleware.rate_limits import RateLimits
from api.middleware.requests import RequestIds
from api.middleware.tracing import Tracing
from api.openapi import document
from api.operations import Operation
from api.request import ApiRequest
from api.resources import (
    admin_receipts,
    admin_subjects,
    audit,
    context,
    docs,
    embeddings,
    episodes,
    erasures,
    inspection,
    jobs,
    keys,
    labels,
    llm,
    memories,
    memory_templates,
    metrics,
    overview,
    policies,
    portability,
    receipts,
    runs,
    service,
    subjects,
    support,
    tenants,
    usage,
    webhook_endpoints,
    webhooks,
)
from api.routes import routes
from pipelines.rate_limits.limiter import RateLimiter, open_limiter
from pipelines.services import Services

#: Every operation of the API, in the order in which it is documented.
OPERATIONS: list[Operation] = [
    *episodes.OPERATIONS,
    *memories.OPERATIONS,
    *labels.OPERATIONS,
    *context.OPERATIONS,
    *receipts.OPERATIONS,
    *llm.OPERATIONS,
    *subjects.OPERATIONS,
    *support.OPERATIONS,
    *memory_templates.OPERATIONS,
    *admin_subjects.OPERATIONS,
    *inspection.OPERATIONS,
    *policies.OPERATIONS,
    *erasures.OPERATIONS,
    *portability.OPERATIONS,
    *admin_receipts.OPERATIONS,
    *jobs.OPERATIONS,
    *runs.OPERATIONS,
    *tenants.OPERATIONS,
    *keys.OPERATIONS,
    *audit.OPERATIONS,
    *overview.OPERATIONS,
    *embeddings.OPERATIONS,
    *usage.OPERATIONS,
    *service.OPERATIONS,
    *webhooks.OPERATIONS,
    *webhook_endpoints.OPERATIONS,
]

#: Paths that answer without a key and without a tenant (contract: core §2.2).
PUBLIC_PATHS = frozenset(
    {path for operation in OPERATIONS if operation.is_public for path in (operation.path, *operation.aliases)}
    | {docs.DOCUMENT_PATH, *docs.PAGE_PATHS}
)

#: Probes, which are never limited (contract: core §2.4).
PROBE_PATHS = frozenset(path for operation in service.OPERATIONS for path in (operation.path, *operation.aliases))


def create_app(services: Services, *, limiter: RateLimiter | None = None) -> falcon.App[ApiRequest, falcon.Response]:
    """The application over one process's services.

    Args:
        limiter: what holds requests against their limits; else the one that the settings ask for.
    """
    settings = services.settings
    # In this order a request comes in; answers go out the other way round.
    middleware: list[Any] = [
        Measuring(services.pool),
        RequestIds(),
        Tracing(),
        Cors(settings.cors_origins),
        Access(settings, services.pool, PUBLIC_PATHS),
        RateLimits(services, limiter or open_limiter(settings), exempt=PROBE_PATHS, public_paths=PUBLIC_PATHS),
    ]
    app = falcon.App(request_type=ApiRequest, middleware=middleware)
    app.resp_options.xml_error_serialization = False
    errors.install(app)
    for template, resource in routes(OPERATIONS, services):
        app.add_route(template, resource)
    app.add_route(metrics.PATH, metrics.Metrics(services.pool))
    app.add_route(docs.DOCUMENT_PATH, docs.Document(document(OPERATIONS, settings)))
    for path in docs.PAGE_PATHS:
        app.add_route(path, docs.Page())
    return app
