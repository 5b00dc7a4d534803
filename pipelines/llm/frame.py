"""How a model is shown what people said: as data that cannot end its frame, whatever it says.

Each line of an episode is one JSON object. Angle brackets and ampersands are written as escapes, so that no text can
hold a closing tag or a control token of a chat template (`<|im_start|>`, `[INST]`); line ends are escaped by JSON, so
no text can begin a line of its own. Characters that cannot be seen and that models nevertheless read are taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from pipelines.llm.windows import Window

_encode = msgspec.json.Encoder().encode

#: Unicode tags (U+E0000 on) spell invisible ASCII; the others reorder or hide what is beside them.
_INVISIBLE = re.compile("[\U000e0000-\U000e007f\u200b\u2060-\u2064\u202a-\u202e\u2066-\u2069\ufeff\0]")

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029", "\x7f": "\\u007f"}
_ESCAPED = re.compile("[" + "".join(_ESCAPES) + "\x80-\x9f]")

#: Control tokens in square brackets, of Mistral's and Llama's templates.
_BRACKET_TOKEN = re.compile(r"\[(?=/?[A-Z][A-Z_]+\])")


def framed(name: str, records: Iterable[dict[str, Any]]) -> str:
    """Records, one JSON object a line, between `<name>` and `</name>`."""
    return "\n".join([f"<{name}>", *(_line(record) for record in records), f"</{name}>"])


def _line(record: dict[str, Any]) -> str:
    text = _encode(record).decode()
    text = _ESCAPED.sub(lambda found: _ESCAPES.get(found[0], f"\\u{ord(found[0]):04x}"), text)
    return _BRACKET_TOKEN.sub("\\\\u005b", text)


def visible(text: str) -> str:
    """The text without characters that nobody sees."""
    return _INVISIBLE.sub("", text)


def episode_records(batch: Sequence[Window], dates: Sequence[datetime]) -> Iterable[dict[str, Any]]:
    """What `framed` shows of a batch: for each window a heading, then its lines.

    Args:
        dates: when what is told in each window happened.
    """
    for index, (window, date) in enumerate(zip(batch, dates, strict=True)):
        yield {"episode_index": index, "date": f"{date:%A, %Y-%m-%d %H:%M} UTC"}
        for number, line in enumerate(window.lines):
            record: dict[str, Any] = {"line": number, "role": line.role}
            if line.speaker:
                record["speaker"] = visible(line.speaker)
            if line.at is not None:
                record["at"] = f"{line.at:%Y-%m-%d %H:%M}"
            yield {**record, "text": visible(line.text)}
