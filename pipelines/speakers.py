"""Who speaks: roles, names as clients write them, and the one form in which names are compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pipelines.terms import hash_word

Role = Literal["user", "agent", "system", "unknown"]

#: Role words of chat formats and support desks, and the side they stand for.
ROLES: dict[str, Role] = {
    **dict.fromkeys(
        "user human customer client visitor caller requester contact enduser end_user end-user inbound".split(), "user"
    ),
    **dict.fromkeys(
        "assistant agent ai bot chatbot model support operator representative rep advisor staff outbound".split(),
        "agent",
    ),
    **dict.fromkeys("system tool function developer event note".split(), "system"),
}

#: Keys under which messages and payloads of real clients name their author, the most telling first.
_NAME_KEYS = (
    *("speaker", "name", "author", "sender", "from", "speaker_name", "user_name", "username", "display_name"),
    *("sender_name", "author_name", "from_name", "participant", "user", "role_name"),
)
_NESTED_NAME_KEYS = ("name", "display_name", "real_name", "full_name", "username", "login", "email", "id")
_ROLE_KEYS = ("role", "role_type", "sender_type", "author_type", "direction")
#: A message or payload without any of these says nothing about its author.
AUTHOR_KEYS = frozenset((*_NAME_KEYS, *_ROLE_KEYS))

#: Capitalised words that begin a line before a colon and are nobody's name.
_NO_NAMES = frozenset(
    """
    note notes subject re fw fwd date time from to cc bcc summary title todo step steps issue answer question q a error
    warning info debug critical fatal exception status priority type id url link http https ps nb tip update edit hint
    example examples result results reason cause fix solution resolution description details context task goal output
    input response request total price address phone email e-mail tel fax name location where when what who why how
    version expected actual environment conversation transcript session history chat message messages content text
    updated resolved done confirmed fixed closed opened created escalated plan cost costs effort impact timeline agenda
    decision city order item items product model size color colour quantity reference ref account invoice ticket case
    it he she they we i you this that these those there here everyone somebody someone nobody
    important attention reminder caution ok okay yes no thanks also first second third finally next then see source
    """.split()
)

#: Where messages come from: no person speaks as "Slack".
_CHANNELS = frozenset(
    """
    slack email mail gmail outlook zendesk intercom github gitlab jira linear discord telegram whatsapp sms teams web
    widget chat api app crm salesforce hubspot notion confluence docs import test demo locomo benchmark bench sdk cli
    phone call ticket webhook system freshdesk twilio messenger zoom calendar database script
    """.split()
)

_NAME_CHARS = 40
#: Digits of the numbers by which transcripts tell speakers apart.
_MOST_DIGITS = 2
_NAME = re.compile(r"[^\W\d_][\w.'’-]*(?: [^\W_][\w.'’-]*){0,3}")
_WORD = re.compile(r"[^\W_]+")
_ROLE_BEFORE_LINE = re.compile(
    r"^(?:user|assistant|agent|system|tool|customer|support): ", re.IGNORECASE | re.MULTILINE
)


def role_of(label: str) -> Role:
    """The side a label stands for; "unknown" for a person's name."""
    return ROLES.get(label.strip().lower(), "unknown")


def without_roles(text: str) -> str:
    """Lines without the role that a transcript writes before each; names of people stay."""
    return _ROLE_BEFORE_LINE.sub("", text)


def normal_name(name: str) -> str:
    """Lower-case words of a name, by which names are compared."""
    return " ".join(_WORD.findall(name.lower()))


def speaker_hash(name: str) -> int:
    """Hash of the normalised name; 0 for no name."""
    normal = normal_name(name)
    return hash_word(normal) if normal else 0


def looks_like_name(label: str) -> bool:
    """Whether a label before a colon names somebody: a role, or one to four capitalised words that are no heading."""
    if len(label) > _NAME_CHARS:
        return False
    if label.lower() in ROLES:
        return True
    if not _NAME.fullmatch(label) or normal_name(label) in _NO_NAMES:
        return False
    words = label.split()
    if words[0].lower() in _NO_NAMES:
        return False
    # "Speaker 2" speaks; "Invoice 4711" and "Budget 2026" do not.
    if any(word.isdigit() and len(word) > _MOST_DIGITS for word in words):
        return False
    return all(not word[0].islower() for word in words) and not (len(label) > 3 and label.isupper())


def author(message: Mapping[str, Any]) -> tuple[str, Role]:
    """Name (may be empty) and role of whoever a message or payload says it is from."""
    name = ""
    for key in _NAME_KEYS:
        value = message.get(key)
        if isinstance(value, dict):
            value = next((v for k in _NESTED_NAME_KEYS if isinstance(v := value.get(k), str) and v.strip()), None)
        if isinstance(value, str) and value.strip() and "\n" not in value and len(value) <= _NAME_CHARS:
            name = value.strip()
            break
    role: Role = "unknown"
    for key in _ROLE_KEYS:
        value = message.get(key)
        if isinstance(value, str) and value.strip():
            role = role_of(value)
            if role == "unknown" and not name and len(value) <= _NAME_CHARS:
                name = value.strip()
            break
    if name and name.lower() in ROLES:
        return "", role_of(name) if role == "unknown" else role
    return name, role


def author_of_source(source: str) -> tuple[str, Role]:
    """Name and role that an episode's `source` stands for, if it is a person or a side and not a channel."""
    role = role_of(source)
    if role != "unknown":
        return "", role
    words = source.split()
    is_person = (
        0 < len(words) <= 3
        and looks_like_name(source)
        and not any(word.lower() in _CHANNELS for word in re.split(r"[\W_]+", source))
    )
    return (source, "unknown") if is_person else ("", "unknown")
