"""Body, headers and signature are what Standard Webhooks 1.0.0 and the contract say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.webhooks import EVENTS, new_secret
from pipelines import webhook_delivery, webhook_message
from pipelines.backoff import WEBHOOK
from pipelines.webhook_message import encode_body, sign

ID = UUID("0198c0de-0000-7000-8000-000000000001")
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)


def headers(body: bytes = b"{}", **changes: Any) -> dict[str, str]:
    arguments = {
        "event": "memories.compiled", "event_id": ID, "tenant_id": "acme", "attempt": 3, "secrets": [], "now": NOW,
    }  # fmt: skip
    return webhook_message.headers(body, **(arguments | changes))


def verifies(secret: str, sent: dict[str, str], body: bytes) -> bool:
    """What a receiver does, after the specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected, one) for one in sent["webhook-signature"].split(" "))


def test_the_published_example_has_the_published_signature() -> None:
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(max_size=200))
def test_a_receiver_that_knows_either_secret_accepts_and_others_do_not(body: bytes) -> None:
    new, old, other = new_secret(), new_secret(), new_secret()
    sent = headers(body, secrets=[new, old])
    assert verifies(new, sent, body)
    assert verifies(old, sent, body)
    assert not verifies(other, sent, body)
    assert not verifies(new, sent, body + b" ")
    assert not verifies(new, sent | {"webhook-timestamp": "1"}, body)
    assert not verifies(new, sent | {"webhook-id": "another"}, body)


def test_the_body_is_exactly_event_timestamp_and_data() -> None:
    data = msgspec.Raw(b'{"subject_id":"ada","memories_created":3}')
    assert encode_body("memories.compiled", NOW, data) == (
        b'{"event":"memories.compiled","timestamp":"2026-03-14T09:26:53Z",'
        b'"data":{"subject_id":"ada","memories_created":3}}'
    )


def test_the_headers_name_event_attempt_and_tenant() -> None:
    assert headers() == {
        "Content-Type": "application/json",
        "User-Agent": webhook_message.USER_AGENT,
        "webhook-id": str(ID),
        "webhook-timestamp": "1773480413",
        "X-Statewave-Event": "memories.compiled",
        "X-Statewave-Attempt": "3",
        "X-Statewave-Tenant": "acme",
    }


def test_the_default_tenant_has_no_header() -> None:
    assert "X-Statewave-Tenant" not in headers(tenant_id="")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_tenant_can_end_its_header(tenant_id: str) -> None:
    value = headers(tenant_id=tenant_id)["X-Statewave-Tenant"]
    assert value.isascii() and value.isprintable() and " " not in value


def test_the_documented_way_to_verify_works() -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)
    verify, secret, body = names["verify"], new_secret(), b'{"event":"subject.deleted"}'
    sent = headers(body, secrets=[secret, new_secret()], now=datetime.now(UTC))
    verify(secret, sent, body)
    for bad_secret, bad_headers, bad_body in (
        (new_secret(), sent, body),
        (secret, sent, body + b" "),
        (secret, headers(body, secrets=[secret]), body),
    ):
        with pytest.raises(ValueError):
            verify(bad_secret, bad_headers, bad_body)


def test_the_documented_numbers_are_the_ones_in_force() -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    assert f"| Attempts | {WEBHOOK.attempts} |" in page
    assert f"{WEBHOOK.base_seconds:.0f} s × 2ⁿ⁻¹, at most {WEBHOOK.cap_seconds / 3600:.0f} h" in page
    longest = sum(WEBHOOK.ceiling(attempt) for attempt in range(1, WEBHOOK.attempts)) / 3600
    assert f"{longest / 2:.0f} hours on average, {longest:.0f} at most" in page
    assert f"up to {webhook_delivery.MOST_TRYING.days} days" in page
    first, most = webhook_delivery.FIRST_BREAK, webhook_delivery.LONGEST_BREAK
    assert f"After {webhook_delivery.FAILURES} failures in a row an endpoint gets a rest: {first.seconds} s" in page
    assert f"up to {most.seconds // 60} min" in page
    assert all(f"`{event}`" in page for event in EVENTS)
