"""Texts with what is sensitive in them, and texts that only look like it: what label suggestions are measured on.

Values are written by hand; what carries a check sum is completed by it, so that a mistake here cannot look like one of
the detectors. Each value stands in one sentence, in a frame that is taken in turn. Tokens are put together from parts,
because no credential, not even an invented one, should stand in a source file as a whole. Nothing here belongs to
anybody: domains and numbers are reserved for examples where such reserves exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import NamedTuple

from bench.label_lookalikes import LOOKALIKES


class Sample(NamedTuple):
    """A text and the labels that it deserves."""

    text: str
    labels: frozenset[str]


_EMAIL_FRAMES = (
    "You can reach me at {}.", "My email is {}", "Please send invoices to {} from now on.", "Contact: {}",
    "<{}> wrote on Tuesday:", "cc {}, please", "The login ({}) does not work any more.", "From: Ada <{}>",
    "mailto:{}", "Is {} still your address?", '"{}" bounced twice', "user={}; plan=pro", "Escreve para {}, por favor.",
)  # fmt: skip
_EMAILS = (
    "ada@globex.example", "ada.moreau@globex.example", "a.b.c@mail.globex.example", "ada+billing@globex.example",
    "ADA@GLOBEX.EXAMPLE", "ada_moreau@globex.co.uk", "x@y.io", "info@exämple.de", "jörg@beispiel.example",
    "o'brien@globex.example", "ops-team@my-company.example", "1234567@qq.example", "first.last@sub.domain.example.org",
    "me@example.museum", "support@xn--bcher-kva.example", "root@server1.example.net", "dev%ops@globex.example",
    "hello@startup.ai", "käthe@müller.example", "sales@example.travel", "n.o.reply@example.app",
    "j.doe-2024@example.com", "test@example.photography", "b@example.co", "user-name@ex-ample.org",
    "name=tag@example.com", "~curious@example.com", "rechnung@firma-nord.example", "ventas@tienda.example.mx",
    "zoe{tag}@example.com", "0@example.com", "q_q@example.info", "mary@a1.example", "pål@fjord.example.no",
)  # fmt: skip

_PHONE_FRAMES = (
    "Call me at {}.", "Phone: {}", "My number is {}", "tel {}", "If it fails again, ring {} after six.",
    "WhatsApp ({})", "His mobile, {}, is switched off.", "Fax {} and phone are the same.", "{} is my direct line",
    "Reach the night desk on {}, any time.",
)  # fmt: skip
_PHONES = (
    "+44 20 7946 0958", "+442079460958", "+1 (415) 555-2671", "+1-415-555-2671", "+1.415.555.2671", "+14155552671",
    "+49 30 901820", "+49 (30) 901820", "+49-170-1234567", "+33 1 42 68 53 00", "+33142685300", "+351 912 345 678",
    "+34 612 34 56 78", "+39 06 6982 0001", "+41 44 668 18 00", "+43 1 58858 0", "+31 20 794 1234", "+32 2 555 12 12",
    "+45 35 35 35 35", "+46 8 123 456 78", "+47 22 85 50 50", "+48 22 694 74 22", "+420 224 005 111",
    "+358 9 1234567", "+30 21 0337 2000", "+7 495 123-45-67", "+81 3-1234-5678", "+86 10 8529 6666",
    "+91 98765 43210", "+61 2 9374 4000", "+64 9 309 8400", "+55 11 91234-5678", "+52 55 1234 5678",
    "+27 21 487 9000", "+972 3-623-1234", "+971 4 123 4567", "+65 6123 4567", "+82 2-312-3456",
    "555-867-5309", "(555) 867-5309", "555.867.5309", "555 867 5309", "1-800-555-0199", "1 800 555 0199",
    "(212)555-0187", "212-555-0134", "123-456-7890", "415 555 0101", "1.888.555.0123", "+1-555-0100",
    "(800) 555.0144", "+90 212 555 01 23", "+353 1 555 0101", "+234 803 123 4567",
)  # fmt: skip

_CARD_FRAMES = (
    "My card is {}.", "Pay with {} please", "The number on the front says {}", "Visa/MC {} exp 12/29",
    "charged to {} yesterday", "card={}", "({})", "Please replace {} by my new one.", "4 digits are not enough: {}.",
)  # fmt: skip
#: Numbers that the networks and payment providers publish for tests.
_CARDS = (
    "4111 1111 1111 1111", "4111111111111111", "4111-1111-1111-1111", "4242 4242 4242 4242", "4012888888881881",
    "4222222222222", "5555 5555 5555 4444", "5555555555554444", "5105105105105100", "2223 0031 2200 3222",
    "2223003122003222", "378282246310005", "3782 822463 10005", "371449635398431", "378734493671000",
    "6011 1111 1111 1117", "6011000990139424", "3056 930902 5904", "30569309025904", "38520000023237",
    "3530111333300000", "3566 0020 2036 0505", "6200000000000005", "4000056655665556", "5200828282828210",
    "6304000000000000", "5019717010103742", "4917610000000000003",
)  # fmt: skip
#: Issuer and account, to be completed by the check digit.
_CARD_BODIES = (
    "492912345678901", "453201511283036", "540123456789012", "510510510510510", "222100001234567", "601100123456789",
    "650012345678901", "37144963539843", "34123456789012", "3600123456789", "352812345678901", "676712345678901",
)  # fmt: skip

_IBAN_FRAMES = (
    "IBAN {}", "My account is {}.", "Transfer it to {} by Friday, please.", "{} (savings)", "Konto: {}",
    "refund to iban={}", "Bank details: {}; holder Ada Moreau", "The account {} was closed.",
)  # fmt: skip
#: Country and account without check digits, and whether it is written in groups of four.
_ACCOUNTS = (
    ("DE", "370400440532013000", True), ("DE", "370400440532013000", False), ("GB", "WEST12345698765432", True),
    ("GB", "WEST12345698765432", False), ("FR", "20041010050500013M02606", True), ("NL", "ABNA0417164300", True),
    ("NL", "ABNA0417164300", False), ("BE", "539007547034", True), ("AT", "1904300234573201", True),
    ("CH", "00762011623852957", True), ("ES", "21000418450200051332", True), ("IT", "X0542811101000000123456", True),
    ("PT", "000201231234567890154", True), ("PL", "109010140000071219812874", True), ("NO", "86011117947", True),
    ("DK", "00400440116243", True), ("SE", "50000000058398257466", True), ("FI", "12345600000785", True),
    ("IE", "AIBK93115212345678", True), ("LU", "0019400644750000", True), ("CZ", "08000000192000145399", True),
    ("SK", "12000000198742637541", True), ("HU", "117730161111101800000000", True),
    ("RO", "AAAA1B31007593840000", True),
    ("GR", "01101250000000012300695", True), ("HR", "10010051863000160", True), ("SI", "263300012039086", True),
    ("EE", "2200221020145685", True), ("LV", "BANK0000435195001", True), ("LT", "1000011101001000", True),
    ("MT", "MALT011000012345MTLCAST001S", True), ("CY", "002001280000001200527600", True),
    ("TR", "0006100519786457841326", True), ("SA", "80000000608010167519", True), ("AE", "0331234567890123456", True),
    ("LI", "088100002324013AA", True), ("MC", "11222000010123456789030", True), ("IS", "0159260076545510730339", True),
    ("UA", "3223130000026007233566001", False), ("BR", "00360305000010009795493C1", False),
)  # fmt: skip

_ADDRESS_FRAMES = (
    "The requests come from {}.", "host {} is unreachable", "Blocked {} after ten failures", "ssh admin@host ({})",
    "client_ip={}", "Its address is {}, I think", "[{}] GET /index.html", "from {} to the gateway", "peer: {}",
)  # fmt: skip
_ADDRESSES = (
    "203.0.113.9", "198.51.100.23", "192.0.2.146", "192.168.1.10", "10.0.0.5", "172.16.254.1", "8.8.8.8",
    "10.0.0.5:8080", "93.184.216.34", "169.254.10.20", "100.64.3.7", "203.0.113.255", "1.1.1.1", "151.101.1.69",
    "192.168.0.1/24", "224.0.0.251", "203.0.113.77:443", "185.199.108.153",
    "2001:db8::1", "2001:db8:85a3::8a2e:370:7334", "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "fe80::1",
    "fe80::a00:27ff:fe4e:66a1", "fd12:3456:789a:1::1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e",
    "::ffff:192.0.2.128", "64:ff9b::c000:221", "ff02::1", "2001:db8:0:1:1:1:1:1", "2620:fe::fe",
    "2001:DB8::8:800:200C:417A",
)  # fmt: skip

_TOKEN_FRAMES = (
    "The key is {}.", "export TOKEN={}", "Authorization: Bearer {}", 'api_key: "{}"', "I pasted {} by accident",
    "curl -H 'X-Key: {}' https://api.example.com", "{} stopped working", "use `{}` for the sandbox",
)  # fmt: skip
_TOKENS = (
    ("AKIA", "IOSFODNN7EXAMPLE"), ("AKIA", "Q3EGRWXNL5TB2YHM"), ("AKIA", "4XN7PLRBZ5CJ6QWE"),
    ("AKIA", "I44QH8DHBEXAMPLE"),
    ("ghp_", "16C7e42F292c6912E7710c838347Ae178B4a"), ("gho_", "9aBcDeFgHiJkLmNoPqRsTuVwXyZ012345678"),
    ("ghu_", "Zx9Yw8Vu7Ts6Rq5Po4Nm3Lk2Ji1Hg0Fe9Dc8"), ("ghs_", "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8"),
    ("ghr_", "QwErTyUiOpAsDfGhJkLzXcVbNm1234567890"), ("ghp_", "mN3bV5cX7zL9kJ1hG3fD5sA7pO9iU1yT3rE5"),
    ("sk-", "abcdefghijklmnopqrstuvwxyz"), ("sk-", "T3BlbkFJq8Zr2Vn5Xc7Lw9Ks"), ("sk-", "proj-8fKd03_LqZx71Yw-Pm5Rt2"),
    ("sk-", "ant-api03-Rk5yQ2_vW8xZ1-Lm7Np4Tb9"), ("sk-", "4eC39HqLyjWDarjtT1zdp7dc"),
    ("sk-", "live-51HqLyjWDarjtT1zdp7dcXyZ"), ("sk-", "0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d"),
    ("AIza", "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"), ("AIza", "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY"),
    ("AIza", "SyB_x8Kq3LmN0pR5tV7wY9zA2cE4gI6kO8Q"), ("xoxb-", "123456789012-abcdefGHIJKL"),
    ("xoxp-", "2345678901-2345678901-abcDEF"), ("xoxa-", "2-998877665544-zyxWVU"), ("xoxs-", "12345-67890-aBcDeF12"),
    ("xoxr-", "1122334455-AbCdEfGhIj"),
    ("eyJ", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"),
    ("eyJ", "0eXAiOiJKV1QifQ.eyJpc3MiOiJqb2UiLCJleHAiOjEzMDB9.TVJ2dVV4cnpGd2tXb0pNQmQ0"),
    ("eyJ", "raWQiOiJhYmMifQ.eyJlbWFpbCI6ImFkYUBleGFtcGxlIn0.c2lnbmF0dXJlLXdpdGgtc29tZS1ieXRlcw"),
)  # fmt: skip

_KEY_BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
_KEYS = (
    ("RSA PRIVATE KEY", ""), ("EC PRIVATE KEY", ""), ("PRIVATE KEY", ""), ("OPENSSH PRIVATE KEY", ""),
    ("DSA PRIVATE KEY", ""), ("ENCRYPTED PRIVATE KEY", ""),
    ("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2\n\n"),
    ("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,3F17F5316E2BAC89\n\n"),
)  # fmt: skip

#: Texts with several kinds.
_MIXED = (
    ("Ada, ada@globex.example, +44 20 7946 0958", "pii.email pii.phone"),
    ("Refund 4111 1111 1111 1111 and tell ada@globex.example", "financial.card pii.email"),
    ("Login from 203.0.113.9 as ada@globex.example", "pii.email pii.ip_address"),
    ("Either BE68 5390 0754 7034 or card 4242424242424242", "financial.card financial.iban"),
    ("555-867-5309 or 2001:db8::1", "pii.ip_address pii.phone"),
)


def corpus() -> list[Sample]:
    """All samples; the same ones in the same order every time."""
    return [
        *_framed(_EMAIL_FRAMES, _EMAILS, "pii.email"),
        *_framed(_PHONE_FRAMES, _PHONES, "pii.phone"),
        *_framed(_CARD_FRAMES, [*_CARDS, *map(_with_luhn, _CARD_BODIES)], "financial.card"),
        *_framed(_IBAN_FRAMES, [_iban(*account) for account in _ACCOUNTS], "financial.iban"),
        *_framed(_ADDRESS_FRAMES, _ADDRESSES, "pii.ip_address"),
        *_framed(_TOKEN_FRAMES, [start + body for start, body in _TOKENS], "secret.token"),
        *(Sample(_pem(kind, head), frozenset({"secret.private_key"})) for kind, head in _KEYS),
        *(Sample(text, frozenset(labels.split())) for text, labels in _MIXED),
        *(Sample(text, frozenset()) for text in LOOKALIKES),
    ]


def _framed(frames: Sequence[str], values: Sequence[str], label: str) -> Iterator[Sample]:
    for frame, value in zip(cycle(frames), values, strict=False):
        yield Sample(frame.replace("{}", value), frozenset({label}))


def _with_luhn(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return body + str(-total % 10)


def _iban(country: str, account: str, grouped: bool) -> str:
    digits = "".join(str(int(char, 36)) for char in account + country + "00")
    whole = f"{country}{98 - int(digits) % 97:02d}{account}"
    return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4)) if grouped else whole


def _pem(kind: str, head: str) -> str:
    return f"-----BEGIN {kind}-----\n{head}{_KEY_BODY}\n-----END {kind}-----"
