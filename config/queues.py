"""The lanes of work. A worker serves all of them or a few."""

from __future__ import annotations

#: `compile` turns episodes into memories on this machine's processors, `llm` waits for model providers, `webhooks` for
#: the receivers of events, and `maintenance` keeps house.
QUEUES = ("compile", "llm", "webhooks", "maintenance")
