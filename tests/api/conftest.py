"""The API in this process: Falcon's test client over the real application, with or without a database behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import falcon.testing
import pytest
from psycopg_pool import ConnectionPool

from api.app import create_app
from config.settings import Settings
from pipelines.services import Services
from storage.transactions import Pool

#: Builds a client; keyword arguments change settings.
MakeClient = Callable[..., falcon.testing.TestClient]


@pytest.fixture
def make_client(services: Services) -> MakeClient:
    """Clients of an application over this test's own database."""

    def make(**changes: Any) -> falcon.testing.TestClient:
        settings = dataclasses.replace(services.settings, **changes)
        return falcon.testing.TestClient(create_app(dataclasses.replace(services, settings=settings)))

    return make


@pytest.fixture
def client(make_client: MakeClient) -> falcon.testing.TestClient:
    """A client of an application with the default settings."""
    return make_client()


@pytest.fixture(scope="session")
def make_doorstep() -> MakeClient:
    """Clients of an application without a database: for requests that are answered at the door.

    A request that gets past the door is answered 503, which no test here expects by accident.
    """

    def make(**changes: Any) -> falcon.testing.TestClient:
        never_opened: Pool = ConnectionPool("", open=False)
        services = Services(
            settings=Settings(**changes),
            pool=never_opened,
            embedder=None,
            ping_broker=lambda: None,
        )
        return falcon.testing.TestClient(create_app(services))

    return make


@pytest.fixture(scope="session")
def doorstep(make_doorstep: MakeClient) -> falcon.testing.TestClient:
    """A client of an application with the default settings and without a database."""
    return make_doorstep()
