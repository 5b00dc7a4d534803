"""Where the models are that are not the compiler's: addresses in the process that asks, keys in the one that calls.

`STATEWAVE_LITELLM_API_KEY` and `STATEWAVE_LITELLM_API_BASE` are those of the vendor of `STATEWAVE_LITELLM_MODEL`. A
model of another vendor has the vendor's own variable, so no key is ever sent to somebody else.
"""

from __future__ import annotations

import msgspec

from config.settings import Settings
from pipelines.providers.calls import Endpoint, provider_of


def endpoint_of(settings: Settings, model: str, *, base: str | None, timeout_seconds: float) -> Endpoint:
    """A model's endpoint without its key, which must not lie on Redis.

    Args:
        base: the model's own address, where it has one.
    """
    own = _is_own(settings, model)
    api_base = base or (settings.litellm_api_base if own else None)
    return Endpoint(model=model, api_base=api_base, timeout_seconds=timeout_seconds)


def with_key(settings: Settings, endpoint: Endpoint) -> Endpoint:
    """The endpoint with the key of its vendor, if it is configured here."""
    key = settings.litellm_api_key if _is_own(settings, endpoint.model) else None
    return msgspec.structs.replace(endpoint, api_key=key)


def _is_own(settings: Settings, model: str) -> bool:
    return provider_of(model) == provider_of(settings.litellm_model)
