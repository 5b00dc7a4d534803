"""Answers about the server itself, and its one error envelope (contract: core §2.5, §6.16)."""

from __future__ import annotations

from typing import Literal

import msgspec


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Version of the server and of the contract it serves."""

    version: str
    api_contract: Literal["v1"] = "v1"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One bad field: where it is, what is wrong with it, and the kind of the problem."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong. `details` names every bad field; `request_id` is the one in the server's log."""

    code: str
    message: str
    details: list[Problem] | None = None
    request_id: str | None = None


class ErrorEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error."""

    error: ErrorInfo
