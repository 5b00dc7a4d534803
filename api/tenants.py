"""Which tenant an operator's request is about: one rule for every route of operators."""

from __future__ import annotations

from api.operations import Call
from api.schemas.fields import DEFAULT_TENANT
from pipelines import subject_views


def named_tenant(call: Call, named: str | None) -> str | None:
    """The tenant that is meant: that of the key, else the one that query or body name, else the header's.

    Args:
        named: what query or body say; `-` is the tenant of requests that name none.

    Returns:
        None where nobody names one, which means all of them, or whichever is found.
    """
    # APPSEC: a key of one tenant reaches nothing of another, also on operators' paths.
    if call.principal.tenant_id is not None:
        return call.principal.tenant_id
    if named is not None:
        return "" if named == DEFAULT_TENANT else named
    return call.tenant_id or None


def tenant_of_subject(call: Call) -> str:
    """The tenant of the subject that the path names: the one that is meant, else the only one that has it.

    Raises:
        Conflict: when several have one and none is named.
        Forbidden: when another region serves it.
    """
    named = named_tenant(call, call.query.tenant_id)
    tenant_id = subject_views.tenant_of(call.services, call.path.subject_id, named)
    call.request.serve_tenant(tenant_id)
    return tenant_id
