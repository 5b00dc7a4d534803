"""Embedders of this machine: a table of static token vectors, from which the mean of a text's tokens is taken.

The default is WordLlama's, read straight from the file in its wheel. An operator may name a folder with another one,
in the form that Model2Vec writes: `model.safetensors` with one table, and `tokenizer.json`.

WordLlama's package itself is never imported: that would load an HTTP client, a validation library and 58 MB for what
is a table look-up. The table (32,000 × 256, half precision, 16 MB) is mapped, so processes share it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding_models import BUNDLED, ModelName

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"

#: Characters of one text that are embedded; the mean of so many tokens moves no more.
MOST_CHARS = 20_000

#: Tokens that are gathered at once; few enough that they stay in the processor's cache.
_CHUNK_TOKENS = 512


_TYPES = {"F16": "<f2", "F32": "<f4"}
_MOST_HEADER_BYTES = 1 << 20


class LocalEmbedderMissing(RuntimeError):
    """The files of the local embedding model are not installed: pip install wordllama."""


class FolderMissing(RuntimeError):
    """`STATEWAVE_EMBEDDING_MODEL` names no folder with an embedding model."""


class LocalEmbedder:
    """Mean of token vectors, as unit vectors: about 35 µs a text, no network, no GPU.

    Safe to share between threads. The model is loaded by the first call to `embed`.
    """

    is_remote = False
    reads_sentences = False

    def __init__(
        self, model: str = BUNDLED, dimensions: int = 256, files: Callable[[], tuple[Path, Path]] | None = None
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self._files = files or _bundled_files
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

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """The unit vector of a query, as `embed` makes it."""
        vector: NDArray[np.float32] = self.embed([text])[0]
        return vector

    def _load(self) -> tuple[Tokenizer, NDArray[np.float16]]:
        with self._lock:
            if self._loaded is None:
                tokenizer_file, weights = self._files()
                from tokenizers import Tokenizer  # 20 MB: only where something is embedded

                tokenizer = Tokenizer.from_file(str(tokenizer_file))
                tokenizer.no_padding()
                tokenizer.no_truncation()
                self._loaded = tokenizer, _map_table(weights)
        return self._loaded


def dimensions_of_folder(folder: str) -> int:
    """Width of the vectors of the model in a folder.

    Raises:
        FolderMissing: when there is none, with what was expected.
    """
    try:
        return _table_shape(Path(folder) / "model.safetensors")[1]
    except (OSError, ValueError) as ex:
        raise FolderMissing(
            f"STATEWAVE_EMBEDDING_MODEL={folder}: expected a folder with tokenizer.json and model.safetensors, which"
            f" holds one table of token vectors ({ex})"
        ) from None


def open_folder(name: ModelName) -> LocalEmbedder:
    """The embedder of a folder.

    Raises:
        FolderMissing: when there is none, or its vectors are of another width than the name says.
    """
    folder = name.name or ""
    found = dimensions_of_folder(folder)
    if found != name.dimensions or not (Path(folder) / "tokenizer.json").is_file():
        raise FolderMissing(f"{folder} holds vectors of {found} dimensions, and {name} was asked for")
    return LocalEmbedder(
        str(name), found, lambda: (Path(folder) / "tokenizer.json", Path(folder) / "model.safetensors")
    )


def _bundled_files() -> tuple[Path, Path]:
    folder = _model_folder()
    return folder / _TOKENIZER, folder / _WEIGHTS


def _model_folder() -> Path:
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise LocalEmbedderMissing(LocalEmbedderMissing.__doc__)
    return Path(spec.origin).parent


def _map_table(path: Path) -> NDArray[np.float16]:
    rows, columns, dtype, offset = _table(path)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(rows, columns))


def _table_shape(path: Path) -> tuple[int, int]:
    return _table(path)[:2]


def _table(path: Path) -> tuple[int, int, str, int]:
    """(rows, columns, type, offset) of the one tensor of a safetensors file: 8 bytes header length, JSON header, data.

    Raises:
        ValueError: when it holds something else.
    """
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("not a safetensors file")
        (length,) = struct.unpack("<Q", start)
        if not 0 < length < _MOST_HEADER_BYTES:
            raise ValueError("not a safetensors file")
        header = json.loads(file.read(length))
    tensors = [value for name, value in header.items() if name != "__metadata__"]
    if len(tensors) != 1 or len(tensors[0]["shape"]) != 2:
        raise ValueError("expected one table and nothing else: a model of static vectors, as Model2Vec writes them")
    tensor = tensors[0]
    if tensor["dtype"] not in _TYPES:
        raise ValueError(f"expected numbers of half or single precision, found {tensor['dtype']}")
    rows, columns = tensor["shape"]
    return rows, columns, _TYPES[tensor["dtype"]], 8 + length + tensor["data_offsets"][0]


def _pool(table: NDArray[np.float16], ids: list[list[int]], out: NDArray[np.float32]) -> None:
    lengths = np.fromiter(map(len, ids), dtype=np.intp, count=len(ids))
    filled = np.flatnonzero(lengths)
    if len(filled) == 0:
        return
    flat = np.concatenate([np.asarray(ids[row], dtype=np.intp) for row in filled])
    starts = np.cumsum(lengths[filled]) - lengths[filled]
    out[filled] = np.add.reduceat(table[flat].astype(np.float32), starts, axis=0)
