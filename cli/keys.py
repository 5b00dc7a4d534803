"""`statewave keys`: making, listing, rotating and revoking API keys, straight on the database.

It needs no key itself, so it is how the first one comes about.
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from typing import Any

from cli.database import ago, duration, operator_pool, show
from cli.invocation import shell_user
from config.clock import utcnow
from config.errors import StatewaveError
from config.settings import load_settings, variable

SCOPES = ("read", "write", "admin")


def _until(key: Any) -> str:
    if key.revoked_at is not None:
        return f"revoked by {key.revoked_by}"
    return "-" if key.expires_at is None else f"ends in {duration((key.expires_at - utcnow()).total_seconds())}"


COLUMNS: dict[str, Any] = {
    "id": lambda key: key.id,
    "name": lambda key: key.name,
    "for": lambda key: "operators" if key.tenant_id is None else f"tenant {key.tenant_id}",
    "scopes": lambda key: ",".join(key.scopes),
    "age": lambda key: ago(key.created_at),
    "used": lambda key: ago(key.last_used_at),
    "": _until,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    create = actions.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--name", required=True, help="whose key it is, as it will stand in the audit log")
    bound = create.add_mutually_exclusive_group(required=True)
    bound.add_argument("--tenant", help="the only tenant that the key acts for; - is the default one")
    bound.add_argument("--operator", action="store_true", help="a key for operators, who may name any tenant")
    create.add_argument("--scope", action="append", choices=SCOPES, help="repeat for several (default: all there are)")
    create.add_argument("--expires-days", type=_days, metavar="DAYS", help="days until it ends (default: never)")
    create.add_argument("--caller-id", help="identity that counts more than what requests say of themselves")
    create.add_argument("--caller-type", help="the same for the type of the caller, such as support_agent")
    listing = actions.add_parser("list", help="list keys, without their secrets")
    listing.add_argument("--tenant", help="only keys of this tenant")
    listing.add_argument("--all", action="store_true", help="also those that were revoked or have expired")
    listing.add_argument("--json", action="store_true", help="one JSON object per line")
    listing.add_argument("--limit", type=int, default=200, help="how many are listed at most (default: 200)")
    rotate = actions.add_parser("rotate", help="replace a key by a new one and print that, this once")
    rotate.add_argument("id")
    rotate.add_argument(
        "--overlap-hours", type=_hours, default=24.0, metavar="HOURS", help="time the old key works on (default: 24)"
    )
    revoke = actions.add_parser("revoke", help="end a key at once, on every server")
    revoke.add_argument("id")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked. The key alone goes to standard output, so that it can be piped somewhere safe."""
    from pipelines import keys
    from pipelines.principal import Principal

    by = Principal(name=shell_user(), kind="operator")
    with operator_pool() as pool:
        try:
            if arguments.action == "create":
                made, key = keys.create(pool, _asked(arguments), by=by)
                _hand_over(key, made)
            elif arguments.action == "rotate":
                overlap = timedelta(hours=arguments.overlap_hours)
                made, key = keys.rotate(pool, arguments.id, overlap=overlap, by=by)
                _hand_over(key, made)
            elif arguments.action == "revoke":
                revoked = keys.revoke(pool, arguments.id, by=by)
                print(f"{revoked.id} ({revoked.name}) opens nothing any more")
            else:
                page, more = keys.list_keys(
                    pool, tenant_id=arguments.tenant, include_over=arguments.all, limit=arguments.limit
                )
                show(page, COLUMNS, as_json=arguments.json, nothing="there are no keys")
                if more is not None:
                    print(f"There are more than {arguments.limit}: use --limit.", file=sys.stderr)
        except StatewaveError as ex:
            details = "; ".join(problem["msg"] for problem in ex.details or [])
            print(details or ex.message, file=sys.stderr)
            return 1
    return 0


def _asked(arguments: argparse.Namespace) -> Any:
    import msgspec

    from api.schemas.fields import DEFAULT_TENANT
    from api.schemas.keys import KeyCreate
    from pipelines.keys import NewKey

    body = {
        "name": arguments.name,
        "tenant_id": arguments.tenant,
        "scopes": arguments.scope,
        "caller_id": arguments.caller_id,
        "caller_type": arguments.caller_type,
    }
    try:
        asked = msgspec.convert(body, KeyCreate)
    except msgspec.ValidationError as ex:
        raise StatewaveError(str(ex)) from None
    days = arguments.expires_days
    return NewKey(
        name=asked.name,
        tenant_id="" if asked.tenant_id == DEFAULT_TENANT else asked.tenant_id,
        scopes=asked.scopes,
        expires_at=None if days is None else utcnow() + timedelta(days=days),
        caller_id=asked.caller_id,
        caller_type=asked.caller_type,
    )


def _hand_over(key: str, made: Any) -> None:
    print(key, flush=True)
    whom = "operators" if made.tenant_id is None else f"tenant {made.tenant_id!r}"
    print(f"{made.name}: for {whom}, may {', '.join(made.scopes)}. It cannot be shown again.", file=sys.stderr)
    settings = load_settings()
    if settings.api_key is None and not settings.require_api_key:
        print(
            f"Requests without a key are answered all the same: set {variable('require_api_key')}=true.",
            file=sys.stderr,
        )


def _days(value: str) -> float:
    return _number(value, most=36_500)


def _hours(value: str) -> float:
    return _number(value, most=720)


def _number(value: str, *, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise argparse.ArgumentTypeError(f"use a number from 0 to {most:g}")
    return number
