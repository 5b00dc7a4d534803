"""Policy bundles, for operators. `tenant_id` or the tenant header names a scope; without both it is the global one."""

from __future__ import annotations

from api.operations import Call, Operation
from api.schemas.admin_subjects import TenantQuery
from api.schemas.policies import (
    Activated,
    ActiveBundle,
    BundleActivation,
    BundleDraft,
    BundleList,
    BundlePath,
    BundleScope,
    BundleSummary,
    BundleUpload,
    BundleUploaded,
    BundleView,
    Deactivated,
    Reloaded,
    RuleView,
    SubjectTrial,
    SubjectTrialQuery,
    TenantTrial,
    Validation,
)
from api.schemas.subjects import SubjectPath
from api.tenants import named_tenant, tenant_of_subject
from config.errors import Forbidden
from pipelines.policy import bundles, dry_run
from pipelines.policy.dry_run import SubjectDryRun, TenantDryRun
from pipelines.policy.evaluation import Caller
from pipelines.policy.reader import read_bundle

TAG = "Policies"


def validate(call: Call) -> Validation:
    reading = read_bundle(call.body.yaml_content)
    bundle = reading.bundle
    return Validation(
        valid=bundle is not None,
        bundle_hash=bundle.bundle_hash if bundle else None,
        version=bundle.version if bundle else None,
        rule_count=len(bundle.rules) if bundle else None,
        problems=reading.problems,
        warnings=reading.warnings,
    )


def upload(call: Call) -> BundleUploaded:
    body = call.body
    scope = _writable(call, body.tenant_id)
    bundle, row = bundles.upload(
        call.services,
        scope,
        body.yaml_content,
        activate=body.activate,
        principal=call.principal,
        request_id=call.request_id,
    )
    return BundleUploaded(
        bundle_hash=row.bundle_hash,
        version=bundle.version,
        rule_count=len(bundle.rules),
        tenant_id=scope,
        active=body.activate,
        warnings=read_bundle(body.yaml_content).warnings,
    )


def list_all(call: Call) -> BundleList:
    rows = bundles.list_bundles(call.services, named_tenant(call, call.query.tenant_id))
    return BundleList(
        bundles=[
            BundleSummary(**{name: getattr(row, name) for name in BundleSummary.__struct_fields__}) for row in rows
        ]
    )


def find(call: Call) -> BundleView:
    bundle, row = bundles.find(call.services, named_tenant(call, call.query.tenant_id), call.path.bundle_hash)
    return BundleView.of(bundle, row)


def activate(call: Call) -> Activated:
    bundles.activate(
        call.services,
        _writable(call, call.body.tenant_id),
        call.body.bundle_hash,
        principal=call.principal,
        request_id=call.request_id,
    )
    return Activated(bundle_hash=call.body.bundle_hash, active=True)


def deactivate(call: Call) -> Deactivated:
    former = bundles.deactivate(
        call.services, _writable(call, call.body.tenant_id), principal=call.principal, request_id=call.request_id
    )
    return Deactivated(bundle_hash=former, active=False)


def reload(call: Call) -> Reloaded:
    return Reloaded(reloaded=True)


def active(call: Call) -> ActiveBundle | None:
    found = bundles.active(call.services, named_tenant(call, call.query.tenant_id))
    if found is None:
        return None
    bundle, row = found
    return ActiveBundle(
        bundle_hash=row.bundle_hash,
        version=bundle.version,
        rule_count=len(bundle.rules),
        tenant_id=row.tenant_id,
        metadata=bundle.metadata,
        rules=[RuleView.of(rule) for rule in bundle.rules],
    )


def try_on_subject(call: Call) -> SubjectDryRun:
    body, query = call.body, call.query
    subject_id = call.path.subject_id
    return dry_run.try_on_subject(
        call.services,
        tenant_of_subject(call),
        subject_id,
        body.yaml_content,
        Caller(id=body.caller_id, type=body.caller_type),
        limit=query.limit,
        offset=query.offset,
    )


def try_on_tenant(call: Call) -> TenantDryRun:
    body = call.body
    return dry_run.try_on_tenant(
        call.services,
        named_tenant(call, body.tenant_id) or "",
        body.yaml_content,
        Caller(id=body.caller_id, type=body.caller_type),
        cursor=body.cursor,
        limit=body.limit,
    )


def _writable(call: Call, named: str | None) -> str | None:
    """The scope to write to.

    Raises:
        Forbidden: when a key of a tenant names another one.
    """
    own = call.principal.tenant_id
    if own is not None and named not in (None, own):
        raise Forbidden("this key is for another tenant", code="forbidden")
    return named_tenant(call, named)


OPERATIONS = [
    Operation(
        "POST",
        "/admin/policies/validate",
        "Check a policy: every problem with its line, and what is doubtful about it",
        validate,
        {200: Validation},
        tag=TAG,
        body=BundleDraft,
        scope="read",
        errors=(413, 422),
    ),
    Operation(
        "POST",
        "/admin/policy/bundles",
        "Upload a policy",
        upload,
        {200: BundleUploaded},
        tag=TAG,
        body=BundleUpload,
        errors=(400, 403, 413, 422, 503),
    ),
    Operation(
        "GET",
        "/admin/policy/bundles",
        "List policies",
        list_all,
        {200: BundleList},
        tag=TAG,
        query=TenantQuery,
        errors=(422, 503),
    ),
    Operation(
        "GET",
        "/admin/policy/bundles/{bundle_hash}",
        "One policy in full",
        find,
        {200: BundleView},
        tag=TAG,
        path_fields=BundlePath,
        query=TenantQuery,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/policy/activate",
        "Put a policy into force",
        activate,
        {200: Activated},
        tag=TAG,
        body=BundleActivation,
        errors=(403, 404, 413, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/policy/deactivate",
        "Take the policy of a tenant, or the global one, out of force",
        deactivate,
        {200: Deactivated},
        tag=TAG,
        body=BundleScope,
        errors=(403, 413, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/policy/reload",
        "Does nothing: policies are read with every request",
        reload,
        {200: Reloaded},
        tag=TAG,
        errors=(422,),
    ),
    Operation(
        "GET",
        "/admin/policy/active",
        "The policy in force for a tenant, or the global one; null when there is none",
        active,
        {200: ActiveBundle | None},
        tag=TAG,
        query=TenantQuery,
        errors=(422, 503),
    ),
    Operation(
        "POST",
        "/admin/policy/dry-run",
        "Which memories of a tenant a draft would hide from a caller",
        try_on_tenant,
        {200: TenantDryRun},
        tag=TAG,
        body=TenantTrial,
        scope="read",
        errors=(400, 413, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/subjects/{subject_id:path}/policy-sandbox",
        "What a draft would do to the memories of a subject for a caller",
        try_on_subject,
        {200: SubjectDryRun},
        tag=TAG,
        path_fields=SubjectPath,
        query=SubjectTrialQuery,
        body=SubjectTrial,
        scope="read",
        errors=(409, 413, 422, 503),
    ),
]
