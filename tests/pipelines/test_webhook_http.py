"""A POST to a stranger: it reaches no private address, follows nobody, and ends."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import webhook_http
from pipelines.webhook_http import Answer, DeliveryFailed, TargetRefused
from tests.fixtures.receiver import Receiver, answer, drip, endless, hang, listening, raw, reset

Addresses = list[tuple[Any, ...]]


def post(url: str, *, timeout_seconds: float = 20, allow_private: bool = True) -> Answer:
    return webhook_http.post(
        url, b'{"a":1}', {"X-Given": "yes"}, timeout_seconds=timeout_seconds, allow_private=allow_private
    )


def info(*addresses: str, port: int = 80) -> Addresses:
    """What a name look-up says."""
    return [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
        if ":" in address
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in addresses
    ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`names(first, second)`: answers of look-ups in turn, the last for ever. Returns the names looked up."""

    def install(*answers: Addresses) -> list[str]:
        asked: list[str] = []

        def look_up(host: str, port: int, **_: Any) -> Addresses:
            asked.append(host)
            return answers[min(len(asked), len(answers)) - 1]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    return install


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that a connection was opened to. None of them is really called."""
    called: list[str] = []

    def refuse(address: tuple[Any, ...], timeout: float) -> socket.socket:
        called.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(webhook_http, "_open", refuse)
    return called


def test_the_request_is_whole_and_the_status_comes_back(receiver: Receiver) -> None:
    assert post(receiver.url) == Answer(204, None, "")
    (request,) = receiver.received
    assert request.line == "POST /hook?from=test HTTP/1.1"
    assert request.headers["Host"] == f"127.0.0.1:{receiver.address[1]}"
    assert request.headers["X-Given"] == "yes"
    assert request.body == b'{"a":1}'


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://[fe80::1]/",
        "http://[64:ff9b::7f00:1]/",
    ],
)
def test_private_targets_are_refused_however_they_are_written(url: str, connected: list[str]) -> None:
    with pytest.raises(TargetRefused, match="not on the public internet"):
        post(url, allow_private=False)
    assert connected == []


@pytest.mark.parametrize("url", ["ftp://example.com/", "http://", "nonsense", f"http://{'a' * 64}.example.com/"])
def test_what_is_no_address_is_refused(url: str, connected: list[str]) -> None:
    with pytest.raises(TargetRefused):
        post(url)
    assert connected == []


def test_a_name_is_judged_by_what_it_stands_for(names: Callable[..., list[str]], connected: list[str]) -> None:
    names(info("10.0.0.7"))
    with pytest.raises(TargetRefused, match=r"hooks\.example\.com stands for 10\.0\.0\.7"):
        post("https://hooks.example.com/", allow_private=False)
    assert connected == []


def test_a_name_that_changes_its_answer_gains_nothing(names: Callable[..., list[str]], connected: list[str]) -> None:
    asked = names(info("93.184.215.14"), info("127.0.0.1"))
    with pytest.raises(DeliveryFailed):
        post("http://rebinding.example.com/", allow_private=False)
    assert asked == ["rebinding.example.com"]
    assert connected == ["93.184.215.14"]


def test_of_several_addresses_only_public_ones_are_called(
    names: Callable[..., list[str]], connected: list[str]
) -> None:
    names(info("127.0.0.1", "93.184.215.14", "::1", "2606:4700::1111", "192.168.0.1"))
    with pytest.raises(DeliveryFailed):
        post("http://mixed.example.com/", allow_private=False)
    assert connected == ["93.184.215.14", "2606:4700::1111"]


def test_the_next_address_is_tried_when_one_refuses(receiver: Receiver, names: Callable[..., list[str]]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
    names(info("127.0.0.1", port=closed) + info("127.0.0.1", port=receiver.address[1]))
    assert post("http://two.example.com/").status == 204
    assert receiver.received[0].headers["Host"] == "two.example.com"


def test_an_unknown_name_may_be_known_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Addresses:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DeliveryFailed, match="not known") as failed:
        post("http://nowhere.example.com/")
    assert not isinstance(failed.value, TargetRefused)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.then(answer(status, Location=receiver.url))
    assert post(receiver.url).status == status
    assert len(receiver.received) == 1


def test_silence_ends_with_the_deadline(receiver: Receiver) -> None:
    receiver.usually = hang
    with pytest.raises(DeliveryFailed, match=r"no answer within 0\.3 s"):
        post(receiver.url, timeout_seconds=0.3)


def test_an_answer_that_drips_ends_with_the_deadline(receiver: Receiver) -> None:
    receiver.usually = drip
    with pytest.raises(DeliveryFailed, match=r"no answer within 0\.4 s"):
        post(receiver.url, timeout_seconds=0.4)


def test_a_body_without_end_is_not_read(receiver: Receiver) -> None:
    receiver.usually = endless(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
    assert post(receiver.url).status == 200
    receiver.usually = endless(b"HTTP/1.1 500 No\r\n\r\n")
    refused = post(receiver.url)
    assert refused.status == 500
    assert len(refused.excerpt) <= webhook_http.EXCERPT_BYTES


def test_a_head_without_end_is_a_failure(receiver: Receiver) -> None:
    receiver.usually = endless(b"HTTP/1.1 200 OK\r\nX-Long: ")
    with pytest.raises(DeliveryFailed, match="not an HTTP answer"):
        post(receiver.url)


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\xff" * 100, b"HTTP/1.1", b"HTTP/1.1 abc\r\n"])
def test_what_is_no_answer_is_a_failure(receiver: Receiver, data: bytes) -> None:
    receiver.usually = raw(data)
    with pytest.raises(DeliveryFailed):
        post(receiver.url)


def test_a_broken_connection_is_a_failure(receiver: Receiver) -> None:
    receiver.usually = reset
    with pytest.raises(DeliveryFailed):
        post(receiver.url)


def test_a_refusal_is_quoted_in_one_printable_line(receiver: Receiver) -> None:
    receiver.usually = answer(400, b'{"error":\n "unknown\x1b[31m tenant"}\xff')
    assert post(receiver.url).excerpt == '{"error": "unknown [31m tenant"}\ufffd'


def test_retry_after_is_handed_on(receiver: Receiver) -> None:
    receiver.usually = answer(429, Retry_After="17")
    assert post(receiver.url) == Answer(429, "17", "")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate, with its key, for hooks.example.com."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=hooks.example.com", "-addext", "subjectAltName=DNS:hooks.example.com",
         "-keyout", str(path), "-out", str(path.with_suffix(".crt"))],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def trusting(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's certificate belongs to a known authority."""
    context = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    monkeypatch.setattr(webhook_http, "_tls", lambda: context)


def tls_receiver(certificate: Path, seen: list[str | None]) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda sock, name, _: seen.append(name)
    return listening(lambda sock: context.wrap_socket(sock, server_side=True))


@pytest.mark.usefixtures("trusting")
def test_tls_names_and_verifies_the_host_although_an_address_is_called(
    certificate: Path, names: Callable[..., list[str]]
) -> None:
    seen: list[str | None] = []
    with tls_receiver(certificate, seen) as receiver:
        names(info("127.0.0.1", port=receiver.address[1]))
        assert post("https://hooks.example.com/in").status == 204
    assert seen == ["hooks.example.com"]
    assert receiver.received[0].headers["Host"] == "hooks.example.com"


@pytest.mark.usefixtures("trusting")
def test_a_certificate_for_another_name_is_a_failure(certificate: Path, names: Callable[..., list[str]]) -> None:
    with tls_receiver(certificate, []) as receiver:
        names(info("127.0.0.1", port=receiver.address[1]))
        with pytest.raises(DeliveryFailed, match="TLS: Hostname mismatch"):
            post("https://other.example.com/")
    assert receiver.received == []


def test_a_certificate_of_nobody_is_a_failure(certificate: Path, names: Callable[..., list[str]]) -> None:
    with tls_receiver(certificate, []) as receiver:
        names(info("127.0.0.1", port=receiver.address[1]))
        with pytest.raises(DeliveryFailed, match="TLS: self-signed certificate"):
            post("https://hooks.example.com/")
    assert receiver.received == []
