"""Who may call, and for which tenant."""

from __future__ import annotations

import hmac
from collections.abc import Set

import falcon
from structlog.contextvars import bind_contextvars

from api.content import is_unicode
from api.request import ApiRequest
from config.errors import Forbidden, MissingTenant, Unauthenticated, ValidationFailed
from config.settings import Settings
from pipelines.principal import SHARED

#: The tenant header of the hosted connectors, whatever ours is called (contract: core §2.1).
TENANT_ALIAS = "X-STATEWAVE-TENANT-ID"

LONGEST_TENANT = 256

#: Paths of operators, who may look at all tenants (contract: governance §9).
OPERATOR_PATHS = ("/admin/", "/ops/", "/metrics")


class Access:
    """Checks the API key and finds the tenant, before anything of the request is read."""

    def __init__(self, settings: Settings, public_paths: Set[str]) -> None:
        self._public_paths = public_paths
        self._key = settings.api_key.encode() if settings.api_key else None
        self._accepts_query_key = settings.allow_query_api_key
        self._tenant_header = settings.tenant_header
        self._requires_tenant = settings.require_tenant

    def process_request(self, request: ApiRequest, response: falcon.Response) -> None:
        if request.path in self._public_paths or request.method == "OPTIONS":
            return
        if self._key is not None:
            self._check_key(request, self._key)
            request.context.principal = SHARED
        tenant_id = self._tenant_of(request)
        request.context.tenant_id = tenant_id
        if tenant_id:
            bind_contextvars(tenant_id=tenant_id)

    def _check_key(self, request: ApiRequest, key: bytes) -> None:
        sent = self._sent_key(request)
        if not sent:
            raise Unauthenticated
        # APPSEC: in constant time.
        if not hmac.compare_digest(sent, key):
            raise Forbidden

    def _sent_key(self, request: ApiRequest) -> bytes:
        """The key as the bytes that were sent; WSGI hands headers over as Latin-1."""
        if key := request.get_header("X-API-Key"):
            return key.encode("latin-1", "replace")
        scheme, _, credentials = (request.get_header("Authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and credentials:
            return credentials.strip().encode("latin-1", "replace")
        if self._accepts_query_key:
            return (request.get_param("api_key") or "").encode("utf-8", "surrogatepass")
        return b""

    def _tenant_of(self, request: ApiRequest) -> str:
        tenant_id = request.get_header(self._tenant_header) or request.get_header(TENANT_ALIAS) or ""
        if not tenant_id:
            # Operators name the tenant they mean in the path or the query.
            if self._requires_tenant and not request.path.startswith(OPERATOR_PATHS):
                raise MissingTenant(f"the {self._tenant_header} header is required")
            return ""
        # WSGI hands header bytes over as Latin-1.
        tenant_id = tenant_id.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
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
