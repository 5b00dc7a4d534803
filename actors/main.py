"""What a worker or scheduler process imports: `dramatiq actors.main:broker`, `periodiq actors.main:broker`."""

from __future__ import annotations

from actors.broker import build_broker
from actors.process import ProcessServices
from config.settings import load_settings

settings = load_settings()
if settings.redis_url is None:
    raise RuntimeError("STATEWAVE_REDIS_URL is not set; `statewave up` sets it for the processes it starts")

broker = build_broker(settings.redis_url)
broker.add_middleware(ProcessServices())

# Actors register with the global broker when their modules are imported, so these imports come last.
from actors import compile, maintenance  # noqa: E402

__all__ = ["broker", "compile", "maintenance"]
