"""What a worker process imports (`dramatiq actors.main:broker`), and the scheduler, to send what is due."""

from __future__ import annotations

from actors.broker import build_broker
from actors.metrics_server import MetricsServer
from actors.process import ProcessServices
from actors.provider_desk import ProviderDeskThreads
from actors.pulse import WorkerPulse
from config.error_reporting import start_error_reporting
from config.settings import load_settings

settings = load_settings()
if settings.redis_url is None:
    raise RuntimeError("STATEWAVE_REDIS_URL is not set; `statewave up` sets it for the processes it starts")

start_error_reporting(settings, process="worker")

broker = build_broker(
    settings.redis_url,
    middleware=[
        WorkerPulse(),
        ProcessServices(),
        ProviderDeskThreads(settings),
        MetricsServer(),
    ],
)

# Actors register with the global broker when their modules are imported, so these imports come last.
from actors import compile, embeddings, erasure, health, maintenance, portability, webhooks  # noqa: E402

__all__ = ["broker", "compile", "embeddings", "erasure", "health", "maintenance", "portability", "webhooks"]
