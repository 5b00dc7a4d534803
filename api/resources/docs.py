"""The documentation: the OpenAPI document, and a page that shows it without the internet."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import falcon

from api.operations import encode
from api.request import ApiRequest

DOCUMENT_PATH = "/openapi.json"

#: The contract has two pages for two renderers of the document; here both are the one.
PAGE_PATHS = ("/docs", "/redoc")


class Document:
    """The document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._encoded = encode(document)

    def on_get(self, request: ApiRequest, response: falcon.Response) -> None:
        response.content_type = falcon.MEDIA_JSON
        response.data = self._encoded


class Page:
    """The page that shows it."""

    def on_get(self, request: ApiRequest, response: falcon.Response) -> None:
        response.content_type = falcon.MEDIA_HTML
        # APPSEC: everything the page needs is in it or on this server.
        response.set_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"
            " connect-src 'self'; img-src data:",
        )
        response.data = _page()


@cache
def _page() -> bytes:
    return (resources.files("api") / "static" / "docs.html").read_bytes()
