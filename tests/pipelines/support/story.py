"""Telling what happened to a customer, in a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from config.clock import utcnow
from pipelines.compile import compile_now
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from pipelines.support.figures import read_health, read_service_levels
from pipelines.support.handoff import Handoff, hand_over
from pipelines.support.health import Health
from pipelines.support.resolutions import record_resolution
from pipelines.support.sla import ServiceLevels


@dataclass
class Story:
    """One customer of one tenant. Times are told as how long ago something was."""

    services: Services
    subject_id: str = "customer:ada"
    tenant_id: str = "acme"
    now: datetime = field(default_factory=utcnow)

    def says(self, session: str, who: str, text: str, *, ago: timedelta, **more: Any) -> None:
        """`who` is the source of the episode: user, agent, tool ..."""
        episode = {"type": "message", "payload": {"text": text}, **more}
        append_episodes(
            self.services,
            self.tenant_id,
            [
                NewEpisode(
                    subject_id=self.subject_id,
                    session_id=session,
                    source=who,
                    occurred_at=self.now - ago,
                    **episode,
                )
            ],
            request_id=None,
        )

    def ends(self, session: str, status: Any, summary: str | None = None, *, ago: timedelta | None = None) -> None:
        """Record how a session stands; `ago` is when it was resolved."""
        record_resolution(
            self.services,
            self.tenant_id,
            subject_id=self.subject_id,
            session_id=session,
            status=status,
            summary=summary,
            resolved_at=self.now - ago if ago is not None else None,
        )

    def compiled(self) -> None:
        compile_now(self.services, self.tenant_id, self.subject_id, request_id=None)

    def health(self) -> Health:
        return read_health(self.services, self.tenant_id, self.subject_id)

    def signals(self) -> dict[str, int]:
        return {factor.signal: factor.impact for factor in self.health().factors}

    def levels(self, **thresholds: float) -> ServiceLevels:
        return read_service_levels(self.services, self.tenant_id, self.subject_id, **thresholds)

    def handoff(self, session: str, **request: Any) -> Handoff:
        return hand_over(self.services, self.tenant_id, subject_id=self.subject_id, session_id=session, **request)
