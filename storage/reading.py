"""Transactions for handing out what is stored: what governs reading comes with their beginning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import LiteralString, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from storage.transactions import Connection, Pool, begin_in, begun_transaction

#: What every reader of a tenant must know before it reads: the policy that is in force, and the tenant's document as
#: `storage.tenant_configs.CONFIG_SQL` has it. It travels with the beginning of the transaction.
_READING: LiteralString = "; select bundle_id, config_text from reader_state()"

_READING_SUBJECT: LiteralString = "; select * from reader_state({subject}, {receipt})"


class ReaderState(NamedTuple):
    """What governs reading a tenant's rows: the id of the active policy bundle, and the tenant's document as text.

    Of a transaction that was begun for one subject also the version of its memories, which readers share who see the
    same memories and labels (None without a policy, and while a change is under way), and, for an answer that may get a
    receipt, the end of the tenant's chain.
    """

    bundle_id: UUID | None
    config_text: str | None
    memories_version: int | None = None
    chain_length: int | None = None
    chain_hash: bytes | None = None
    subject_id: str | None = None

    def version_of(self, subject_id: str) -> int | None:
        """The version of a subject's memories; None if the transaction was begun for another one."""
        return self.memories_version if subject_id == self.subject_id else None


@contextlib.contextmanager
def reading_transaction(
    pool: Pool, tenant_id: str, subject_id: str | None = None
) -> Iterator[tuple[Connection, ReaderState]]:
    """A tenant's transaction for handing out what is stored, with what governs that, in no more round trips.

    Args:
        subject_id: whom it is about, if that is one subject.
    """
    begin = begin_in("statewave_app", tenant_id) + _reading(subject_id)
    with begun_transaction(pool, begin) as cursor:
        yield cursor.connection, _reader_state(cursor, subject_id)


@contextlib.contextmanager
def tenant_snapshot(
    pool: Pool, tenant_id: str, subject_id: str | None = None, *, wants_receipt: bool = False
) -> Iterator[tuple[Connection, ReaderState]]:
    """A transaction as `reading_transaction` opens it in which all statements see the same rows: for reading what one
    answer is made of. A write may fail where somebody else wrote since the first statement.

    Args:
        wants_receipt: whether a receipt of the answer is asked for.
    """
    begin = begin_in("statewave_app", tenant_id, " isolation level repeatable read")
    with begun_transaction(pool, begin + _reading(subject_id, wants_receipt=wants_receipt)) as cursor:
        yield cursor.connection, _reader_state(cursor, subject_id)


def _reading(subject_id: str | None, *, wants_receipt: bool = False) -> sql.Composed:
    if subject_id is None:
        return sql.SQL(_READING).format()
    return sql.SQL(_READING_SUBJECT).format(subject=sql.Literal(subject_id), receipt=sql.Literal(wants_receipt))


def _reader_state(cursor: psycopg.Cursor[TupleRow], subject_id: str | None) -> ReaderState:
    while cursor.nextset():
        pass
    row = cursor.fetchone() or (None, None)
    return ReaderState(*row)._replace(subject_id=subject_id)
