"""Sentence encoders of this machine: BERT models in the form that sentence-transformers writes, run by `bert`.

A folder holds `config.json`, `model.safetensors`, `tokenizer.json` and, where pooling is told, `1_Pooling/config.json`.
The weights are mapped, so processes share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.bert import BertConfig, BertEncoder, Matrix, Pooling
from pipelines.safetensors_file import RowsOfFile, TensorPlace, map_tensor, tensors_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Word pieces that go through the model at once; bounds the working memory to about 10 MB.
CHUNK_PIECES = 512

#: Characters of one text that are looked at; models read a few hundred word pieces.
MOST_CHARS = 20_000

#: Texts that are tokenized at once.
_TEXTS_AT_ONCE = 256


class _Model(msgspec.Struct):
    """The one key of `config.json` that tells an encoder from other folders."""

    model_type: str = ""


class _Pooling(msgspec.Struct):
    pooling_mode_mean_tokens: bool = False
    pooling_mode_cls_token: bool = False


class _Module(msgspec.Struct):
    type: str


class _Lengths(msgspec.Struct):
    max_seq_length: int | None = None


#: What a sentence encoder may be made of, by the last part of the class's name.
_MODULES = {"Transformer", "Pooling", "Normalize"}


class BertEmbedder:
    """Sentences as unit vectors; some ten milliseconds a text, no network, no GPU.

    Safe to share between threads. The model is loaded by the first call to `embed`.

    Args:
        model: Its name, as stored with the vectors.
        folder: Where its files are.

    Raises:
        OSError: when a file is missing.
        ValueError: when it is no model that can be run here, with the reason.
    """

    is_remote = False
    is_instant = False
    #: It could, but finds better what is asked for without names and the commonest words (docs/ranking.md).
    reads_sentences = False

    def __init__(self, model: str, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self._config = config_of(folder)
        self._pooling = _pooling_of(folder)
        self.dimensions = self._config.hidden_size
        self._lock = Lock()
        self._loaded: tuple[Tokenizer, BertEncoder] | None = None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; of a longer one than the model reads, its beginning.

        Returns:
            (n, dimensions) unit rows; a zero row for a text without words.
        """
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            self._embed(texts[start : start + _TEXTS_AT_ONCE], out[start : start + _TEXTS_AT_ONCE])
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        np.divide(out, norms, out=out, where=norms > 0)
        return out

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """The unit vector of a query, as `embed` makes it."""
        vector: NDArray[np.float32] = self.embed([text])[0]
        return vector

    def _embed(self, texts: Sequence[str], out: Matrix) -> None:
        tokenizer, encoder = self._loaded or self._load()
        pieces = [encoding.ids for encoding in tokenizer.encode_batch_fast([text[:MOST_CHARS] for text in texts])]
        # Texts of the same length are attended to together, so they stand together; the longest of a chunk comes first.
        rows = iter(sorted((row for row, text in enumerate(texts) if text.strip()), key=lambda row: -len(pieces[row])))
        for row in rows:
            chunk = [row, *islice(rows, max(0, CHUNK_PIECES // len(pieces[row]) - 1))]
            out[chunk] = encoder.encode([pieces[row] for row in chunk])

    def _load(self) -> tuple[Tokenizer, BertEncoder]:
        with self._lock:
            if self._loaded is None:
                from tokenizers import Tokenizer  # 20 MB: only where something is embedded

                tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
                tokenizer.no_padding()
                tokenizer.enable_truncation(_most_pieces(self.folder, self._config))
                self._loaded = tokenizer, self._encoder()
        return self._loaded

    def _encoder(self) -> BertEncoder:
        path = self.folder / "model.safetensors"
        places = tensors_of(path)

        def place(name: str) -> TensorPlace:
            if name not in places:
                raise ValueError(f"{path} has no tensor {name}")
            return places[name]

        def tensor(name: str) -> Matrix:
            # Of half precision it is copied: products are of single precision.
            return np.asarray(map_tensor(path, place(name)), dtype=np.float32)

        words = RowsOfFile(path, place("embeddings.word_embeddings.weight"))
        return BertEncoder(self._config, words, tensor, self._pooling)


def is_encoder(folder: Path) -> bool:
    """Whether a folder says that it holds a sentence encoder."""
    try:
        return msgspec.json.decode((folder / "config.json").read_bytes(), type=_Model).model_type == "bert"
    except (OSError, msgspec.DecodeError):
        return False


def config_of(folder: Path) -> BertConfig:
    """The model's configuration.

    Raises:
        OSError: when there is none.
        ValueError: when the model is built otherwise than can be run here.
    """
    config = msgspec.json.decode((folder / "config.json").read_bytes(), type=BertConfig)
    modules = folder / "modules.json"
    if modules.is_file():
        for module in msgspec.json.decode(modules.read_bytes(), type=list[_Module]):
            if module.type.rpartition(".")[2] not in _MODULES:
                raise ValueError(f"a module of type {module.type} cannot be run here")
    return config


def _pooling_of(folder: Path) -> Pooling:
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    pooling = msgspec.json.decode(path.read_bytes(), type=_Pooling)
    if pooling.pooling_mode_mean_tokens == pooling.pooling_mode_cls_token:
        raise ValueError("expected the mean of the word pieces or the first of them as the sentence's vector")
    return "mean" if pooling.pooling_mode_mean_tokens else "cls"


def _most_pieces(folder: Path, config: BertConfig) -> int:
    """Word pieces that the model reads, the special ones included."""
    path = folder / "sentence_bert_config.json"
    told = msgspec.json.decode(path.read_bytes(), type=_Lengths).max_seq_length if path.is_file() else None
    return min(told or config.max_position_embeddings, config.max_position_embeddings)
