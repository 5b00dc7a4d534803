"""Reading safetensors files: 8 bytes header length, a JSON header that says where each tensor lies, the data.

Tensors are mapped and not read, so processes share them and only what is used takes memory.
"""

from __future__ import annotations

import json
import math
import os
import struct
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"F16": "<f2", "F32": "<f4"}
_MOST_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where a tensor lies in its file. `dtype` is the format's name of the type, such as `F32`."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


def tensors_of(path: Path) -> dict[str, TensorPlace]:
    """The tensors of a file by their names.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is of another format.
    """
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("not a safetensors file")
        (length,) = struct.unpack("<Q", start)
        if not 0 < length < _MOST_HEADER_BYTES:
            raise ValueError("not a safetensors file")
        header = json.loads(file.read(length))
    return {
        name: TensorPlace(tensor["dtype"], tuple(tensor["shape"]), 8 + length + tensor["data_offsets"][0])
        for name, tensor in header.items()
        if name != "__metadata__"
    }


def map_tensor(path: Path, place: TensorPlace) -> NDArray[Any]:
    """A tensor as a read-only array over the file, of half or single precision.

    Raises:
        ValueError: when its numbers are of another type, or the file is shorter than its header says.
    """
    return np.memmap(path, dtype=type_of(place), mode="r", offset=place.offset, shape=place.shape)


class RowsOfFile:
    """Rows of a table, read one by one: for one of which few are used at a time.

    Mapped, every row would bring its neighbours into the process, as the kernel maps sixteen pages at once. Safe to
    share between threads; the file stays open for as long as this is.
    """

    def __init__(self, path: Path, place: TensorPlace) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        self._place = place
        self._type = np.dtype(type_of(place))
        if path.stat().st_size < place.offset + math.prod(place.shape) * self._type.itemsize:
            raise ValueError("the file is shorter than its header says")

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The rows of these numbers, (n, columns)."""
        distinct, inverse = np.unique(rows, return_inverse=True)
        width = self._place.shape[1] * self._type.itemsize
        read = b"".join([os.pread(self._file, width, self._place.offset + row * width) for row in distinct.tolist()])
        found: NDArray[np.float32] = np.frombuffer(read, dtype=self._type).reshape(len(distinct), -1)[inverse]
        return found.astype(np.float32, copy=False)


def type_of(place: TensorPlace) -> str:
    """numpy's name of the tensor's type.

    Raises:
        ValueError: when it is neither of half nor of single precision.
    """
    if place.dtype not in _TYPES:
        raise ValueError(f"expected numbers of half or single precision, found {place.dtype}")
    return _TYPES[place.dtype]
