"""Reading under the policy in force: every answer about stored rows begins here.

The bundle, the tenant's document and the version of the subject's memories come with the beginning of the transaction,
so a tenant without a policy pays nothing for it. With one, one more statement reads what is labelled of the subject,
unless no rule concerns the caller, or this process has judged the same version of it before (`kept_judgements`).

It fails closed: a tenant that enforces gets an error, never an answer without its policy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from uuid import UUID

import msgspec
import structlog

from config.errors import Unauthenticated, Unavailable
from pipelines import tenant_config
from pipelines.policy.bundle import Bundle, Mode
from pipelines.policy.evaluation import Caller, Judge
from pipelines.policy.judgement import Judgement, judge_subject
from pipelines.policy.kept_judgements import KeptJudgements, Key
from pipelines.policy.reader import read_bundle
from pipelines.policy.visibility import EVERYTHING, Visibility
from pipelines.policy_decisions import PolicyDecisions
from pipelines.principal import Principal
from pipelines.services import Services
from pipelines.tenant_config import Known
from storage import policies
from storage.passage_columns import PassageColumns
from storage.reading import ReaderState, reading_transaction
from storage.transactions import Connection, tenant_transaction

log = structlog.get_logger()

#: Bundles that a process remembers. Their rows never change, so they are never out of date.
MOST_REMEMBERED = 256


class PolicyInForce(msgspec.Struct, frozen=True, kw_only=True):
    """A policy with the text it was uploaded as, and whether it is acted upon or only written down."""

    bundle: Bundle | None = None
    yaml_content: str | None = None
    mode: Mode = "log_only"


@dataclass(frozen=True, slots=True)
class Reader:
    """A transaction in which one caller is answered, under one policy."""

    conn: Connection
    tenant_id: str
    caller: Caller
    config: Known
    policy: PolicyInForce
    state: ReaderState
    kept: KeptJudgements

    def judgement(self, subject_id: str) -> Judgement:
        """What the policy says about the subject, also where it is not acted upon."""
        bundle = self.policy.bundle
        if bundle is None:
            return Judgement()
        judge = Judge(bundle, self.caller)
        if not judge.concerns_caller:
            return Judgement(judge=judge)
        key = Key(self.tenant_id, subject_id, bundle.bundle_hash, judge.places)
        version = self.state.version_of(subject_id)
        judgement = self.kept.find(key, version)
        if judgement is None:
            labels = policies.subject_labels(self.conn, self.tenant_id, subject_id, versioned=version is not None)
            judgement = judge_subject(judge, labels)
            self.kept.keep(key, labels.version, judgement)
        return judgement

    def visibility(self, subject_id: str) -> Visibility:
        """What the caller sees of the subject."""
        if self.policy.mode != "enforce" or self.policy.bundle is None:
            return EVERYTHING
        return self.judgement(subject_id).visibility

    def visibilities(self, subject_ids: Sequence[str]) -> Mapping[str, Visibility]:
        """What the caller sees of several subjects; those of which nothing is labelled cost nothing each."""
        if self.policy.mode != "enforce" or self.policy.bundle is None:
            return dict.fromkeys(subject_ids, EVERYTHING)
        plain = Visibility(unlabelled=Judge(self.policy.bundle, self.caller).decide(()))
        labelled = policies.labelled_subjects(self.conn, self.tenant_id, subject_ids)
        return {id: self.visibility(id) if id in labelled else plain for id in subject_ids}

    def acted_upon(self, judgement: Judgement) -> Visibility:
        """What follows from a judgement: nothing where the policy is only written down."""
        return judgement.visibility if self.policy.mode == "enforce" else EVERYTHING

    def decisions(self, judgement: Judgement, columns: PassageColumns | None) -> PolicyDecisions:
        """What a receipt says about the policy."""
        mode, text = self.policy.mode, self.policy.yaml_content
        known = judgement.decided.get((mode, text))
        if known is not None:
            return known
        applied, skipped = judgement.filters(columns)
        decisions = PolicyDecisions(
            bundle_hash=self.policy.bundle.bundle_hash if self.policy.bundle else None,
            bundle_yaml=text,
            mode=mode,
            filters_applied=applied,
            filters_skipped=skipped,
        )
        if judgement.visibility.unlabelled is None:
            # Otherwise it depends on the passages as well.
            judgement.decided[mode, text] = decisions
        return decisions


@contextmanager
def reading_as(
    services: Services, tenant_id: str, caller: Caller, *, subject_id: str | None = None
) -> Iterator[Reader]:
    """Begin a transaction for answering a caller under the policy in force.

    Args:
        subject_id: whom the answer is about, if that is one subject: what was decided about it lately is used again.

    Raises:
        Unavailable: when the policy of a tenant that enforces cannot be read.
    """
    with reading_transaction(services.pool, tenant_id, subject_id) as (conn, state):
        config = tenant_config.parse(state.config_text)
        policy = _in_force(conn, state, config)
        yield Reader(conn, tenant_id, caller, config, policy, state, services.judgements)


@contextmanager
def viewing_as(
    services: Services, tenant_id: str, subject_id: str, viewer: Caller | None
) -> Iterator[tuple[Connection, Visibility]]:
    """Begin a transaction for showing a subject to somebody, with what that may see.

    Args:
        viewer: whoever has a key of the tenant; None for operators, who see everything.
    """
    if viewer is None:
        with tenant_transaction(services.pool, tenant_id) as conn:
            yield conn, EVERYTHING
        return
    with reading_as(services, tenant_id, viewer, subject_id=subject_id) as reader:
        yield reader.conn, reader.visibility(subject_id)


def viewer_of(principal: Principal) -> Caller | None:
    """Who looks at operators' views: a tenant's key as the caller it names, anybody else as an operator (None)."""
    return caller_of(principal) if principal.kind == "tenant" else None


def reading_on(
    conn: Connection,
    state: ReaderState,
    tenant_id: str,
    caller_id: str | None,
    caller_type: str | None,
    *,
    kept: KeptJudgements,
    policy: PolicyInForce | None = None,
) -> Reader:
    """A reader in a transaction that has begun, for answers that a tenant may want callers to name themselves for.

    Args:
        kept: where judgements are kept between requests.
        policy: the policy to answer under; None for the one in force, under which callers may have to name themselves.

    Raises:
        Unauthenticated: when the caller has to and does not.
        Unavailable: when the policy of a tenant that enforces cannot be read.
    """
    config = tenant_config.parse(state.config_text)
    caller = Caller(id=caller_id, type=caller_type)
    if policy is not None:
        return Reader(conn, tenant_id, caller, config, policy, state, kept)
    _require_caller(caller, config)
    return Reader(conn, tenant_id, caller, config, _in_force(conn, state, config), state, kept)


def caller_of(principal: Principal, caller_id: str | None = None, caller_type: str | None = None) -> Caller:
    """Who asks: what the key says counts, and only without that what the request says of itself."""
    return Caller(id=principal.caller_id or caller_id or None, type=principal.caller_type or caller_type or None)


def _require_caller(caller: Caller, config: Known) -> None:
    """Refuse callers that do not say who they are, where the tenant wants to know (contract: governance §6)."""
    wanted = config.config.require_caller_identity or "require_caller_identity" in config.unreadable
    if wanted and not (caller.id and caller.type):
        raise Unauthenticated("this tenant requires caller_id and caller_type", code="http_error")


def _in_force(conn: Connection, state: ReaderState, config: Known) -> PolicyInForce:
    mode: Mode = "enforce" if "policy_mode" in config.unreadable else config.config.policy_mode
    if state.bundle_id is None:
        return PolicyInForce(mode=mode)
    loaded = _remembered.get(conn, state.bundle_id)
    if loaded is None:
        log.error("policy_bundle_resolution_failed", bundle_id=str(state.bundle_id), mode=mode)
        if mode == "enforce":
            raise Unavailable("the policy of this tenant cannot be read", code="policy_unavailable")
        return PolicyInForce(mode=mode)
    bundle, text = loaded
    return PolicyInForce(bundle=bundle, yaml_content=text, mode=mode)


class _Bundles:
    """The bundles that were read last, by id."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_id: OrderedDict[UUID, tuple[Bundle, str]] = OrderedDict()

    def get(self, conn: Connection, bundle_id: UUID) -> tuple[Bundle, str] | None:
        with self._lock:
            found = self._by_id.get(bundle_id)
            if found is not None:
                self._by_id.move_to_end(bundle_id)
                return found
        text = policies.bundle_text(conn, bundle_id)
        bundle = read_bundle(text).bundle if text is not None else None
        if bundle is None or text is None:
            return None
        with self._lock:
            self._by_id[bundle_id] = (bundle, text)
            if len(self._by_id) > MOST_REMEMBERED:
                self._by_id.popitem(last=False)
        return bundle, text


_remembered = _Bundles()
