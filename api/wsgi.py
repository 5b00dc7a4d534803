"""What gunicorn loads in each of its workers, after the fork: connections and threads do not survive one."""

from __future__ import annotations

import atexit

import falcon

from actors.broker import build_broker
from actors.services import open_services
from actors.usage_flusher import UsageFlusher
from api.app import create_app
from api.request import ApiRequest
from config.settings import load_settings


def application() -> falcon.App[ApiRequest, falcon.Response]:
    """Open this process's services and build the application over them.

    Raises:
        RuntimeError: when no database or no Redis is named.
    """
    settings = load_settings()
    if settings.redis_url is None:
        raise RuntimeError("STATEWAVE_REDIS_URL is not set; `statewave up` sets it for the processes it starts")
    broker = build_broker(settings.redis_url)
    services = open_services(settings, broker, pool_size=settings.pool_size)
    atexit.register(services.pool.close)
    flusher = UsageFlusher(services)
    flusher.start()
    atexit.register(flusher.stop)
    return create_app(services)


app = application()
