"""Embedders of this machine: a table of static token vectors, from which the mean of a text's tokens is taken.

The default is WordLlama's, read straight from the file in its wheel. An operator may name a folder with another one,
in the form that Model2Vec writes: `model.safetensors` with one table, and `tokenizer.json`.

WordLlama's package itself is never imported: that would load an HTTP client, a validation library and 58 MB for what
is a table look-up. The table (32,000 × 256, half precision, 16 MB) is mapped, so processes share it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding_models import BUNDLED
from pipelines.safetensors_file import TensorPlace, map_tensor, tensors_of, type_of

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

    is_remote = False
    is_instant = True
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
                self._loaded = tokenizer, map_tensor(weights, _table(weights))
        return self._loaded


def table_dimensions(folder: Path) -> int:
    """Width of the vectors of the static model in a folder.

    Raises:
        OSError: when its file cannot be read.
        ValueError: when it holds something else.
    """
    return _table(folder / "model.safetensors").shape[1]


def _bundled_files() -> tuple[Path, Path]:
    folder = _model_folder()
    return folder / _TOKENIZER, folder / _WEIGHTS


def _model_folder() -> Path:
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise LocalEmbedderMissing(LocalEmbedderMissing.__doc__)
    return Path(spec.origin).parent


def _table(path: Path) -> TensorPlace:
    """The one tensor of a file.

    Raises:
        ValueError: when it holds something else.
    """
    tensors = list(tensors_of(path).values())
    if len(tensors) != 1 or len(tensors[0].shape) != 2:
        raise ValueError("expected one table and nothing else: a model of static vectors, as Model2Vec writes them")
    type_of(tensors[0])
    return tensors[0]


def _pool(table: NDArray[np.float16], ids: list[list[int]], out: NDArray[np.float32]) -> None:
    lengths = np.fromiter(map(len, ids), dtype=np.intp, count=len(ids))
    filled = np.flatnonzero(lengths)
    if len(filled) == 0:
        return
    flat = np.concatenate([np.asarray(ids[row], dtype=np.intp) for row in filled])
    starts = np.cumsum(lengths[filled]) - lengths[filled]
    out[filled] = np.add.reduceat(table[flat].astype(np.float32), starts, axis=0)
