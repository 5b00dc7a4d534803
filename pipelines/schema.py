"""The state of the database's schema, for probes and operators."""

from __future__ import annotations

from pipelines.services import Services
from storage.migrate import SchemaState, schema_state_of


def schema(services: Services) -> SchemaState:
    """Compare the database with the migrations this version ships."""
    with services.pool.connection() as conn:
        return schema_state_of(conn)
