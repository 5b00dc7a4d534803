"""Transactions for handing out what is stored: what governs reading comes with their beginning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from storage.messages import Answers
from storage.transactions import ONE_MOMENT, Connection, Pool, begin_in, begun_transaction

#: What every reader of a tenant must know before it reads: the policy that is in force, and the tenant's document as
#: `storage.tenant_configs.CONFIG_SQL` has it. It travels with the beginning of the transaction.
_READING = b"select bundle_id, config_text from reader_state()"

#: The same with what concerns one subject, and the end of the chain of receipts.
_READING_SUBJECT = b"select * from reader_state(%b, false)"
_READING_AND_CHAIN = b"select * from reader_state(%b, true)"


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
    begin = begin_in("statewave_app", tenant_id)
    with begun_transaction(pool, begin.with_first(*_reading(subject_id))) as answers:
        yield answers.connection, _reader_state(answers, subject_id)


@contextlib.contextmanager
def tenant_snapshot(
    pool: Pool, tenant_id: str, subject_id: str | None = None, *, wants_receipt: bool = False
) -> Iterator[tuple[Connection, ReaderState]]:
    """A transaction as `reading_transaction` opens it in which all statements see the same rows: for reading what one
    answer is made of. A write may fail where somebody else wrote since the first statement.

    Args:
        wants_receipt: whether a receipt of the answer is asked for.
    """
    begin = begin_in("statewave_app", tenant_id, ONE_MOMENT)
    with begun_transaction(pool, begin.with_first(*_reading(subject_id, wants_receipt=wants_receipt))) as answers:
        yield answers.connection, _reader_state(answers, subject_id)


@contextlib.contextmanager
def first_read(
    pool: Pool,
    tenant_id: str,
    statement: bytes,
    values: Sequence[str],
    *,
    subject_id: str | None = None,
    wants_receipt: bool = False,
) -> Iterator[tuple[Connection, ReaderState, Any]]:
    """A transaction as `tenant_snapshot` opens it, with the row of a statement that travels with its beginning.

    Args:
        statement: with `%b` where the values go.
    """
    reading, of_subject = _reading(subject_id, wants_receipt=wants_receipt)
    begin = begin_in("statewave_app", tenant_id, ONE_MOMENT)
    with begun_transaction(pool, begin.with_first(b"%b; %b" % (reading, statement), [*of_subject, *values])) as answers:
        yield answers.connection, _reader_state(answers, subject_id, -2), answers.row(-1)


def _reading(subject_id: str | None, *, wants_receipt: bool = False) -> tuple[bytes, list[str]]:
    """The statement that brings a reader's state, and the values in it."""
    if subject_id is None:
        return _READING, []
    return _READING_AND_CHAIN if wants_receipt else _READING_SUBJECT, [subject_id]


def _reader_state(answers: Answers, subject_id: str | None, number: int = -1) -> ReaderState:
    row = answers.row(number) or (None, None)
    return ReaderState(*row)._replace(subject_id=subject_id)
