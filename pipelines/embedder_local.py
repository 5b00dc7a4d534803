"""The default embedder: WordLlama's static token vectors, read straight from the file in its wheel.

The package itself is never imported: that would load an HTTP client, a validation library and 58 MB for what is a
table look-up. The table (32,000 × 256, half precision, 16 MB) is mapped, so processes share it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"

#: Characters of one text that are embedded; the mean of so many tokens moves no more.
MOST_CHARS = 20_000

#: Tokens that are gathered at once; bounds the working memory to about 16 MB.
_CHUNK_TOKENS = 16_384


class LocalEmbedderMissing(RuntimeError):
    """The files of the local embedding model are not installed: pip install wordllama."""


class LocalEmbedder:
    """Mean of token vectors, as unit vectors: about 35 µs a text, no network, no GPU.

    Safe to share between threads. The model is loaded by the first call to `embed`.
    """

    model = "wordllama-l2-supercat-256"
    dimensions = 256
    is_remote = False
    reads_sentences = False

    def __init__(self) -> None:
        self._lock = Lock()
        self._loaded: tuple[Tokenizer, NDArray[np.float16]] | None = None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts.

        Returns:
            (n, 256) unit rows; a zero row for a text without words.

        Raises:
            LocalEmbedderMissing: when the model's files are not installed.
        """
        tokenizer, table = self._loaded or self._load()
        encoded = tokenizer.encode_batch_fast([text[:MOST_CHARS] for text in texts], add_special_tokens=False)
        ids = [encoding.ids for encoding in encoded]
        out = np.zeros((len(ids), self.dimensions), dtype=np.float32)
        start = 0
        while start < len(ids):
            stop, tokens = start, 0
            while stop < len(ids) and (stop == start or tokens + len(ids[stop]) <= _CHUNK_TOKENS):
                tokens += len(ids[stop])
                stop += 1
            _pool(table, ids[start:stop], out[start:stop])
            start = stop
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        np.divide(out, norms, out=out, where=norms > 0)
        return out

    def _load(self) -> tuple[Tokenizer, NDArray[np.float16]]:
        with self._lock:
            if self._loaded is None:
                folder = _model_folder()
                from tokenizers import Tokenizer  # 20 MB: only where something is embedded

                tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
                tokenizer.no_padding()
                tokenizer.no_truncation()
                self._loaded = tokenizer, _map_table(folder / _WEIGHTS)
        return self._loaded


def _model_folder() -> Path:
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise LocalEmbedderMissing(LocalEmbedderMissing.__doc__)
    return Path(spec.origin).parent


def _map_table(path: Path) -> NDArray[np.float16]:
    """Map the one tensor of a safetensors file: 8 bytes header length, JSON header, data."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    (tensor,) = (value for name, value in header.items() if name != "__metadata__")
    if tensor["dtype"] != "F16":
        raise ValueError(f"{path}: expected half precision, found {tensor['dtype']}")
    offset = 8 + length + tensor["data_offsets"][0]
    return np.memmap(path, dtype=np.float16, mode="r", offset=offset, shape=tuple(tensor["shape"]))


def _pool(table: NDArray[np.float16], ids: list[list[int]], out: NDArray[np.float32]) -> None:
    lengths = np.fromiter(map(len, ids), dtype=np.intp, count=len(ids))
    filled = np.flatnonzero(lengths)
    if len(filled) == 0:
        return
    flat = np.concatenate([np.asarray(ids[row], dtype=np.intp) for row in filled])
    starts = np.cumsum(lengths[filled]) - lengths[filled]
    out[filled] = np.add.reduceat(table[flat].astype(np.float32), starts, axis=0)
