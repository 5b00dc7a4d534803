"""The checks of PostgreSQL and Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import redis

from cli.checks import Check, failed, passed, skipped
from cli.process import connected_database, connected_redis
from config.settings import Settings, variable
from storage.children import StartFailed
from storage.migrate import schema_state

OLDEST_POSTGRES = 15
OLDEST_REDIS = 6

#: Leases are compared with the database's clock; a difference beyond this is a sign of trouble, in seconds.
CLOCK_SKEW = 5.0

CONNECT_SECONDS = 5

_ROLES = (
    "select rolname, rolsuper or rolbypassrls from pg_roles"
    " where rolname in ('statewave_app', 'statewave_operator', 'statewave_regional')"
)
_UNFORCED = """
select relname from pg_class
where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
  and relname <> 'schema_migrations' and not (relrowsecurity and relforcerowsecurity)
order by 1
"""
_ME = "select rolsuper or rolcreaterole from pg_roles where rolname = current_user"


def database(settings: Settings) -> Iterator[Check]:
    """Whether PostgreSQL is there and fit for us."""
    try:
        url = connected_database(settings)
    except StartFailed:
        yield skipped("database", "embedded and not running: `statewave up` starts it")
        return
    try:
        conn = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS)
    except psycopg.OperationalError as ex:
        remedy = f"start PostgreSQL, or correct {variable('database_url')}"
        yield failed("database", str(ex).strip(), remedy if settings.database_url else "run `statewave up`")
        return
    with conn:
        version = conn.info.server_version // 10000
        if version < OLDEST_POSTGRES:
            yield failed("database", f"PostgreSQL {version}", f"use PostgreSQL {OLDEST_POSTGRES} or newer")
            return
        yield passed("database", f"PostgreSQL {version}, database {conn.info.dbname}")
        yield _connections(conn, settings)
        yield _database_clock(conn)
        yield from _roles(conn)
        state = schema_state(url)
        if not state.is_compatible:
            yield failed("schema", f"at {state.current or 'nothing'}", state.summary)
            return
        yield passed("schema", state.current or "")
        yield _row_level_security(conn)


def broker(settings: Settings) -> Iterator[Check]:
    """Whether Redis is there and keeps what it is given."""
    try:
        url = connected_redis(settings)
    except StartFailed:
        yield skipped("Redis", "embedded and not running: `statewave up` starts it")
        return
    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS)
        info: dict[str, Any] = client.info()
    except redis.RedisError as ex:
        remedy = f"start Redis, or correct {variable('redis_url')}"
        yield failed("Redis", str(ex), remedy if settings.redis_url else "run `statewave up`")
        return
    version = str(info["redis_version"])
    if int(version.split(".")[0]) < OLDEST_REDIS:
        yield failed("Redis", version, f"use Redis {OLDEST_REDIS} or newer, or Valkey")
    else:
        yield passed("Redis", version)
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        yield passed("Redis eviction", policy)
    else:
        yield failed("Redis eviction", policy, "set `maxmemory-policy noeviction`: evicted wake-ups delay work")
    if info.get("aof_enabled"):
        yield passed("Redis persistence", "append-only file")
    else:
        # Rows in PostgreSQL are the truth: losing Redis' memory costs seconds, not work.
        yield passed("Redis persistence", "off; a restart of Redis delays queued work by seconds, nothing is lost")


def _roles(conn: psycopg.Connection[Any]) -> Iterator[Check]:
    privileged = dict(conn.execute(_ROLES).fetchall())
    if len(privileged) < 3:
        may_create = conn.execute(_ME).fetchone()
        if may_create is None or not may_create[0]:
            yield failed(
                "roles",
                f"missing, and {conn.info.user} may not create them",
                f"as a superuser: alter role {conn.info.user} createrole",
            )
        else:
            yield passed("roles", f"{conn.info.user} may create them")
        return
    powerful = sorted(name for name, is_powerful in privileged.items() if is_powerful)
    if powerful:
        remedy = "; ".join(f"alter role {name} nosuperuser nobypassrls" for name in powerful)
        yield failed("roles", f"{', '.join(powerful)} can see every tenant", f"as a superuser: {remedy}")
    else:
        yield passed("roles", "unprivileged")


def _row_level_security(conn: psycopg.Connection[Any]) -> Check:
    unforced = [name for (name,) in conn.execute(_UNFORCED).fetchall()]
    if unforced:
        remedy = "; ".join(f"alter table {t} enable row level security, force row level security" for t in unforced)
        return failed("row-level security", f"not forced on {', '.join(unforced)}", remedy)
    return passed("row-level security", "forced on every table")


def _connections(conn: psycopg.Connection[Any], settings: Settings) -> Check:
    row = conn.execute("select current_setting('max_connections')::int").fetchone()
    most = row[0] if row else 0
    needed = settings.api_workers * settings.pool_size + settings.worker_processes * (settings.worker_threads + 4)
    detail = f"{needed} of {most} needed by one API and one worker service"
    if needed > most:
        remedy = f"raise max_connections, or lower {variable('pool_size')} or the number of processes"
        return failed("connections", detail, remedy)
    return passed("connections", detail)


def _database_clock(conn: psycopg.Connection[Any]) -> Check:
    before = time.time()
    row = conn.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    skew = abs((row[0] if row else 0.0) - (before + time.time()) / 2)
    if skew > CLOCK_SKEW:
        return failed("database clock", f"{skew:.0f} s away from ours", "keep both machines' clocks by NTP")
    return passed("database clock", f"{skew:.1f} s away from ours")
