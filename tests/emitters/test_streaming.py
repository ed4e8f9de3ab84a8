"""Weights in pieces: the same bytes as numpy's, in whatever order they lie, and their pages are given back."""

from __future__ import annotations

import mmap
import threading
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite.emitters import streaming
from onnx2tf_lite.emitters.streaming import give_back, pieces

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PIECE", 1 << 12)


def test_the_bytes_are_those_of_c_order() -> None:
    base = RNG.normal(size=(70, 6, 5, 40)).astype(np.float32)
    arrays = [base, base.transpose(1, 2, 3, 0), base.transpose(3, 1, 2, 0), base[:, 0, 0].T, base[::-1, :, ::2]]
    arrays += [base[:1, 0].T, base.reshape(1, -1), np.zeros((0, 3), np.float32), np.asarray(np.float32(2))]
    arrays += [RNG.integers(0, 9, (300, 70)).T]
    dtypes = [np.dtype(np.float16) if i % 2 and a.dtype.kind == "f" else a.dtype for i, a in enumerate(arrays)]
    groups = groupby(pieces(arrays, dtypes), lambda piece: piece.place)
    found = {place: b"".join(piece.data.tobytes() for piece in group) for place, group in groups}
    assert list(found) == list(range(len(arrays)))
    for i, (array, dtype) in enumerate(zip(arrays, dtypes, strict=True)):
        assert found[i] == array.astype(dtype).tobytes()


def test_an_error_beside_the_writing_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def ordered(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
        raise MemoryError(threading.current_thread().name)

    monkeypatch.setattr(streaming, "_ordered", ordered)
    with pytest.raises(MemoryError, match="Thread"):
        list(pieces([RNG.normal(size=(64, 8)).T], [np.dtype(np.float64)]))


def resident(mapped: mmap.mmap) -> int:
    """KB of a mapped file that are in memory, as the system tells of the place where it is mapped."""
    start = np.frombuffer(mapped, np.uint8).__array_interface__["data"][0]
    lines = Path("/proc/self/smaps").read_text().partition(f"\n{start:08x}-")[2].splitlines()
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell")
def test_pages_of_a_mapped_file_are_given_back(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(RNG.bytes(64 + (1 << 19)))
    with (tmp_path / "weights").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    array = np.frombuffer(memoryview(mapped)[64 : 64 + (1 << 19)], np.float32).reshape(512, 256).T
    before = array.copy()
    assert resident(mapped) >= 512
    give_back(array)
    assert resident(mapped) < 100
    np.testing.assert_array_equal(array, before)


def test_what_can_be_changed_is_kept(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(1 << 16))
    with (tmp_path / "weights").open("rb") as file:
        array = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
    array[:] = 7
    give_back(array)
    assert (array == 7).all()
