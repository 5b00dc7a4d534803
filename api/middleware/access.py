"""Who may call, and for which tenant."""

from __future__ import annotations

import contextlib
from collections.abc import Set

import falcon
import structlog
from structlog.contextvars import bind_contextvars

from api import errors
from api.content import is_unicode
from api.operations import OPERATOR_PATHS
from api.request import ApiRequest
from api.resources import metrics
from config.errors import Forbidden, MissingTenant, StatewaveError, Unauthenticated, ValidationFailed
from config.settings import Settings
from pipelines.access import Admission, Door
from pipelines.key_format import PREFIX
from storage.standing import standing
from storage.transactions import DATABASE_AWAY, Pool, operator_transaction

log = structlog.get_logger()

#: The tenant header of the hosted connectors, whatever ours is called (contract: core §2.1).
TENANT_ALIAS = "X-STATEWAVE-TENANT-ID"

LONGEST_TENANT = 256


class Access:
    """Checks the API key and finds the tenant, before anything of the request is read."""

    def __init__(self, settings: Settings, pool: Pool, public_paths: Set[str]) -> None:
        self._public_paths = public_paths
        self._pool = pool
        self._door = Door(settings, pool)
        self._accepts_query_key = settings.allow_query_api_key
        self._tenant_header = settings.tenant_header
        self._requires_tenant = settings.require_tenant

    def process_request(self, request: ApiRequest, response: falcon.Response) -> None:
        # Threads are used again: nothing may rest on what the request before it was let in by.
        standing.set(None)
        if request.path in self._public_paths or request.method == "OPTIONS":
            return
        admission = self._admit(request)
        context = request.context
        context.admission, context.principal = admission, admission.principal
        if admission.key_id is not None:
            bind_contextvars(key_id=admission.key_id)
        named = self._named_tenant(request, admission)
        context.tenant_id = admission.tenant_for(named)
        if context.tenant_id:
            bind_contextvars(tenant_id=context.tenant_id)
        elif self._requires_tenant and not request.path.startswith(OPERATOR_PATHS):
            # Operators name the tenant they mean in the path or the query.
            raise MissingTenant(f"the {self._tenant_header} header is required")
        if request.path == metrics.PATH and "admin" not in admission.principal.scopes:
            raise Forbidden("the API key lacks the scope admin", code="insufficient_scope")
        if context.tenant_id or not request.path.startswith(OPERATOR_PATHS):
            request.serve_tenant(context.tenant_id)

    def process_response(
        self, request: ApiRequest, response: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        admission = request.context.admission
        if admission is None:
            return
        if req_succeeded and standing.get() is admission and not admission.is_confirmed:
            self._confirm(request, response)
        standing.set(None)
        if req_succeeded and admission.key_id is not None:
            # A request must not fail over a note about it.
            with contextlib.suppress(*DATABASE_AWAY):
                self._door.note_use(admission.key_id)

    def _confirm(self, request: ApiRequest, response: falcon.Response) -> None:
        """Let a transaction look whether access still holds, for the request that had none of its own."""
        try:
            with operator_transaction(self._pool):
                pass
        except StatewaveError as ex:
            errors.write(response, ex, request.context.request_id)
        except DATABASE_AWAY as ex:
            errors.write_database_away(response, ex, request.context.request_id)

    def _admit(self, request: ApiRequest) -> Admission:
        sent = _header_key(request)
        if not sent and "api_key" in request.params:
            in_query = _last(request.params["api_key"])
            if self._accepts_query_key:
                sent = in_query.encode("utf-8", "surrogatepass")
            elif self._door.requires_key or in_query.startswith(PREFIX):
                raise Unauthenticated(
                    "API keys in the query string are refused, because query strings end up in logs: send it as "
                    "X-API-Key or as a Bearer token"
                )
        return self._door.admit(sent)

    def _named_tenant(self, request: ApiRequest, admission: Admission) -> str:
        """The tenant that a header names; the configured header counts before its alias."""
        named = ""
        for header in (self._tenant_header, TENANT_ALIAS):
            if sent := request.get_header(header):
                tenant_id = self._valid_tenant(sent)
                # APPSEC: a key of one tenant is refused whichever of the headers names another.
                admission.tenant_for(tenant_id)
                named = named or tenant_id
        return named

    def _valid_tenant(self, sent: str) -> str:
        # WSGI hands header bytes over as Latin-1.
        tenant_id = sent.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
        if len(tenant_id) > LONGEST_TENANT or not tenant_id.isprintable() or not is_unicode(tenant_id):
            raise ValidationFailed(
                f"the {self._tenant_header} header is not valid",
                details=[
                    {
                        "loc": ["header", self._tenant_header],
                        "msg": f"Expected 1 to {LONGEST_TENANT} printable characters in UTF-8",
                        "type": "invalid_value",
                    }
                ],
            )
        return tenant_id


def _header_key(request: ApiRequest) -> bytes:
    """The key as the bytes that were sent; WSGI hands headers over as Latin-1."""
    if key := request.get_header("X-API-Key"):
        return key.encode("latin-1", "replace")
    scheme, _, credentials = (request.get_header("Authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and credentials:
        return credentials.strip().encode("latin-1", "replace")
    return b""


def _last(value: str | list[str]) -> str:
    return value[-1] if isinstance(value, list) else value
