"""Looking into one subject: how it grew, where a memory comes from, what lies near what."""

from __future__ import annotations

from api.operations import Call, Operation
from api.schemas.admin_subjects import MemoryPath, TenantQuery
from api.schemas.inspection import (
    Activity,
    ActivityQuery,
    GrowthQuery,
    MemoryGrowth,
    NearPairsQuery,
    SimulationQuery,
)
from api.schemas.subjects import SubjectPath
from api.tenants import tenant_of_subject
from config.clock import utcnow
from pipelines import memory_neighbours, memory_origins
from pipelines.memory_neighbours import Map, NearPairs, Simulation
from pipelines.memory_origins import CompilerTrace, Provenance


def activity(call: Call) -> Activity:
    subject_id, days = call.path.subject_id, call.query.days
    found = memory_origins.activity(call.services, tenant_of_subject(call), subject_id, days=days)
    return Activity(days=found, subject_id=subject_id, window_days=days)


def memory_timeline(call: Call) -> MemoryGrowth:
    subject_id, until = call.path.subject_id, call.query.snapshot_at or utcnow()
    events = memory_origins.growth(call.services, tenant_of_subject(call), subject_id, until=until)
    total = events[-1].cumulative_count if events else 0
    return MemoryGrowth(events=events, snapshot_at=until, memories_at_snapshot=total, subject_id=subject_id)


def provenance(call: Call) -> Provenance:
    path = call.path
    return memory_origins.provenance(call.services, tenant_of_subject(call), path.subject_id, path.memory_id)


def compiler_trace(call: Call) -> CompilerTrace:
    path = call.path
    return memory_origins.compiler_trace(call.services, tenant_of_subject(call), path.subject_id, path.memory_id)


def simulate(call: Call) -> Simulation:
    query = call.query
    return memory_neighbours.simulate(
        call.services,
        tenant_of_subject(call),
        call.path.subject_id,
        query=query.query,
        limit=query.limit,
        token_budget=query.token_budget,
    )


def conflicts(call: Call) -> NearPairs:
    query = call.query
    return memory_neighbours.near_pairs(
        call.services,
        tenant_of_subject(call),
        call.path.subject_id,
        threshold=query.threshold,
        limit=query.limit,
    )


def clusters(call: Call) -> Map:
    return memory_neighbours.clusters(call.services, tenant_of_subject(call), call.path.subject_id)


_SUBJECT = "/admin/subjects/{subject_id:path}"

OPERATIONS = [
    Operation(
        "GET",
        f"{_SUBJECT}/activity",
        "What was stored of a subject day by day",
        activity,
        {200: Activity},
        tag="Operators",
        path_fields=SubjectPath,
        query=ActivityQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/memory-timeline",
        "How a subject's memories became more",
        memory_timeline,
        {200: MemoryGrowth},
        tag="Operators",
        path_fields=SubjectPath,
        query=GrowthQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/memories/{{memory_id}}/provenance",
        "The episodes that a memory was taken from, and what else came of them",
        provenance,
        {200: Provenance},
        tag="Operators",
        path_fields=MemoryPath,
        query=TenantQuery,
        errors=(400, 404, 409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/memories/{{memory_id}}/compiler-trace",
        "How a memory was made, from which texts",
        compiler_trace,
        {200: CompilerTrace},
        tag="Operators",
        path_fields=MemoryPath,
        query=TenantQuery,
        errors=(400, 404, 409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/retrieval-simulate",
        "Which memories a query would find, and which a budget has room for",
        simulate,
        {200: Simulation},
        tag="Operators",
        path_fields=SubjectPath,
        query=SimulationQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/conflicts",
        "Active memories that say nearly the same",
        conflicts,
        {200: NearPairs},
        tag="Operators",
        path_fields=SubjectPath,
        query=NearPairsQuery,
        errors=(409, 422, 503),
        description="The newest 150 are compared. What compiling has decided is at `related`.",
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/memory-clusters",
        "A subject's memories as a map of two dimensions",
        clusters,
        {200: Map},
        tag="Operators",
        path_fields=SubjectPath,
        query=TenantQuery,
        errors=(409, 422, 503),
        description="The newest 500.",
    ),
]
