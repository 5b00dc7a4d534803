"""The forward pass of a BERT encoder (Devlin et al., 2019) in numpy: from word pieces to one vector a text.

Texts are never padded: everything but attention works on the word pieces of all texts one after another, and attention
on groups of texts of the same length. So a text's vector does not depend on what it is embedded with, but for the
rounding of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Pooling = Literal["mean", "cls"]

#: Rows of the inner layer (1,536 wide) that are activated at once: 200 kB, so that the many passes stay in the cache.
_ROWS_AT_ONCE = 32

# erf by Abramowitz and Stegun, 7.1.26; wrong by less than 1.5e-7.
_ERF_P = np.float32(0.3275911)
_ERF = tuple(map(np.float32, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)))
_HALF = np.float32(0.5)


class BertConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a model's `config.json`."""

    model_type: Literal["bert"]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    hidden_act: Literal["gelu"] = "gelu"
    position_embedding_type: Literal["absolute"] = "absolute"
    layer_norm_eps: float = 1e-12


class Rows(Protocol):
    """A table of which rows are looked up."""

    def __getitem__(self, rows: NDArray[np.intp]) -> Matrix:
        """The rows of these numbers, (n, columns)."""


class _Linear:
    def __init__(self, tensor: Callable[[str], Matrix], name: str) -> None:
        self.weight = tensor(f"{name}.weight").T
        self.bias = tensor(f"{name}.bias")

    def __call__(self, x: Matrix) -> Matrix:
        out: Matrix = x @ self.weight
        out += self.bias
        return out


class _LayerNorm:
    def __init__(self, tensor: Callable[[str], Matrix], name: str, epsilon: float) -> None:
        self.weight = tensor(f"{name}.weight")
        self.bias = tensor(f"{name}.bias")
        self.epsilon = np.float32(epsilon)

    def __call__(self, x: Matrix) -> Matrix:
        out: Matrix = x - x.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", out, out) / np.float32(out.shape[1])
        out *= (1 / np.sqrt(variance + self.epsilon))[:, None]
        out *= self.weight
        out += self.bias
        return out


class _Layer:
    def __init__(self, tensor: Callable[[str], Matrix], name: str, config: BertConfig) -> None:
        attention, epsilon = f"{name}.attention", config.layer_norm_eps
        self.heads = config.num_attention_heads
        self.query = _Linear(tensor, f"{attention}.self.query")
        self.key = _Linear(tensor, f"{attention}.self.key")
        self.value = _Linear(tensor, f"{attention}.self.value")
        self.attended = _Linear(tensor, f"{attention}.output.dense")
        self.attended_norm = _LayerNorm(tensor, f"{attention}.output.LayerNorm", epsilon)
        self.inner = _Linear(tensor, f"{name}.intermediate.dense")
        self.outer = _Linear(tensor, f"{name}.output.dense")
        self.norm = _LayerNorm(tensor, f"{name}.output.LayerNorm", epsilon)

    def __call__(self, x: Matrix, lengths: Sequence[int]) -> Matrix:
        attended = self.attended(self._attend(x, lengths))
        attended += x
        x = self.attended_norm(attended)
        inner = self.inner(x)
        for start in range(0, len(inner), _ROWS_AT_ONCE):
            gelu(inner[start : start + _ROWS_AT_ONCE])
        out = self.outer(inner)
        out += x
        return self.norm(out)

    def _attend(self, x: Matrix, lengths: Sequence[int]) -> Matrix:
        query, key, value = self.query(x), self.key(x), self.value(x)
        query *= np.float32((x.shape[1] // self.heads) ** -0.5)
        out = np.empty_like(x)
        for rows, length in _of_equal_length(lengths):
            shape = (-1, length, self.heads, x.shape[1] // self.heads)
            q, k, v = (part[rows].reshape(shape).swapaxes(1, 2) for part in (query, key, value))
            weights = q @ k.swapaxes(2, 3)
            weights -= weights.max(axis=3, keepdims=True)
            np.exp(weights, out=weights)
            weights /= weights.sum(axis=3, keepdims=True)
            out[rows] = (weights @ v).swapaxes(1, 2).reshape(-1, x.shape[1])
        return out


class BertEncoder:
    """A BERT encoder over weights that lie elsewhere. Safe to share between threads.

    Args:
        words: The vectors of the word pieces, by their numbers.
        tensor: Finds any other weight by its name in the model's file.

    Raises:
        ValueError: when a weight is missing.
    """

    def __init__(
        self, config: BertConfig, words: Rows, tensor: Callable[[str], Matrix], pooling: Pooling = "mean"
    ) -> None:
        self.pooling = pooling
        self._words = words
        self._positions = tensor("embeddings.position_embeddings.weight")
        self._type = tensor("embeddings.token_type_embeddings.weight")[0]
        self._norm = _LayerNorm(tensor, "embeddings.LayerNorm", config.layer_norm_eps)
        self._layers = [_Layer(tensor, f"encoder.layer.{number}", config) for number in range(config.num_hidden_layers)]

    def encode(self, texts: Sequence[Sequence[int]]) -> Matrix:
        """One row per text, (n, hidden_size), not normalised.

        Args:
            texts: Word pieces, the special ones included, none empty and none longer than the model reads. Best in the
                order of their lengths.
        """
        lengths = [len(text) for text in texts]
        pieces = np.concatenate([np.asarray(text, dtype=np.intp) for text in texts])
        places = np.concatenate([np.arange(length) for length in lengths])
        x = self._norm(self._words[pieces] + self._positions[places] + self._type)
        for layer in self._layers:
            x = layer(x, lengths)
        starts = np.cumsum([0, *lengths[:-1]])
        if self.pooling == "cls":
            first: Matrix = x[starts]
            return first
        total: Matrix = np.add.reduceat(x, starts, axis=0)
        total /= np.asarray(lengths, dtype=np.float32)[:, None]
        return total


def gelu(x: Matrix) -> None:
    """x · Φ(x), in place, Φ being the distribution function of the normal distribution (Hendrycks and Gimpel, 2016)."""
    z = np.abs(x)
    z *= np.float32(0.5**0.5)
    t = z * _ERF_P
    t += 1
    np.reciprocal(t, out=t)
    tail = t * _ERF[4]
    for factor in _ERF[3::-1]:
        tail += factor
        tail *= t
    z *= z
    np.negative(z, out=z)
    np.exp(z, out=z)
    tail *= z
    tail *= _HALF
    # `tail` is Φ(-|x|), and x · Φ(x) is max(x, 0) - |x| · Φ(-|x|).
    np.abs(x, out=z)
    tail *= z
    np.maximum(x, 0, out=x)
    x -= tail


def _of_equal_length(lengths: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """Runs of texts of the same length: the rows of their word pieces, and the length."""
    start = 0
    for length, run in groupby(lengths):
        stop = start + length * len(list(run))
        yield slice(start, stop), length
        start = stop
