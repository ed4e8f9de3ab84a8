"""The data that ranges are taken from: what is no data, and that all of it counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx2tf_lite import ConversionError, convert
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.quantization import ranges
from onnx2tf_lite.quantization.calibrate import Spread, Statistics
from onnx2tf_lite.quantization.samples import CalibrationData
from onnx2tf_lite.validation.files.flatfile import FlatFile
from tests.validation.models import cnn

from .test_laws import program

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": ({"path": np.full((2, 4), np.nan, np.float32)}, r"sample 1, input 'x0': has NaN"),
    "infinity": ({"path": np.float32([[1, 2, 3, 4], [1, 2, np.inf, 4]])}, "sample 2, input 'x0': has NaN"),
    "complex": ({"path": np.ones((2, 4), np.complex64)}, "of complex64"),
    "no sample": ({"path": np.ones((0, 4), np.float32)}, "no sample"),
    "a deviation of 0": ({"rows": [("x0", np.ones((2, 4), np.float32), 0.0, 0.0)]}, "no deviation of 0"),
    "a mean of NaN": ({"mean": np.nan}, "leave no numbers"),
}


@pytest.mark.parametrize("given, said", WRONG.values(), ids=WRONG)
def test_data_of_which_no_range_can_be_taken(given: dict[str, Any], said: str) -> None:
    graph = program(lambda x: b.relu(x), (1, 4))
    with pytest.raises(ConversionError, match=said):
        settings = {name: a for name, a in given.items() if name == "mean"}
        list(CalibrationData.of(given.get("path"), given.get("rows", ()), **settings).samples(graph))


@pytest.mark.parametrize(
    "given", [np.ones((3, 4), np.float32), [np.ones(4, np.float32)[None]] * 3], ids=["array", "list"]
)
def test_one_input_needs_no_name(given: Any) -> None:
    graph = program(lambda x: b.relu(x), (1, 4))
    found = list(CalibrationData.of(given, ()).samples(graph))
    assert len(found) == 3 and all(sample["x0"].shape == (1, 4) for sample in found)


def picture(path: Path, mode: str = "RGB") -> None:
    image = pytest.importorskip("PIL.Image")
    image.new(mode, (6, 5), 120).save(path)


FOLDERS: dict[str, tuple[int, dict[str, Any], Callable[[Path], object], str]] = {
    "two means for three channels": (3, {"mean": [0.9, 0]}, lambda folder: picture(folder / "a.png"), "2 means"),
    "a damaged image": (3, {}, lambda folder: (folder / "a.png").write_bytes(b"no image"), "a.png': cannot be read"),
    "four channels of three": (4, {}, lambda folder: picture(folder / "a.png"), "has no transparency"),
    "nothing": (3, {}, lambda folder: None, "has no images"),
    "arrays, too": (3, {}, lambda folder: (picture(folder / "a.png"), np.save(folder / "b.npy", np.zeros(3))),
                    r"has arrays \('b.npy'\) and images \('a.png'\)"),
}  # fmt: skip


@pytest.mark.parametrize("channels, settings, fill, said", FOLDERS.values(), ids=FOLDERS)
def test_folders_of_which_no_range_can_be_taken(
    channels: int, settings: dict[str, Any], fill: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    pytest.importorskip("PIL")
    fill(tmp_path)
    graph = program(lambda x: b.relu(x), (1, 5, 6, channels))
    with pytest.raises(ConversionError, match=said):
        list(CalibrationData.of(tmp_path, (), **settings).samples(graph))


def test_ranges_reach_what_was_kept_to_judge_them_by() -> None:
    """At those ends where nothing was cut off, or where there had been nothing."""
    seen = Statistics({n: Spread(-1, 2) for n in ("whole", "cut", "twice")} | {"positive": Spread(0.5, 2)})
    known = {"whole": (-1.0, 2.0), "cut": (-0.5, 2.0), "twice": (-2.0, 4.0), "positive": (0.5, 1.0)}
    others = {name: Spread(-3, 3) for name in known}
    found = ranges.widened(known, seen, others)
    assert found == {"whole": (-3, 3), "cut": (-0.5, 3), "twice": (-3, 4), "positive": (-3, 1.0)}


@pytest.mark.parametrize("kind", ["integer_quant", "integer_quant_with_int16_act"])
def test_no_sample_of_the_user_is_cut_off(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their order: the largest is among those that ranges are judged by, or among the others."""
    monkeypatch.setattr(ranges, "POLICIES", {"extremes": ranges.extremes})  # the others may cut it off, if that serves
    x = np.random.default_rng(0).standard_normal((16, 3, 12, 10)).astype(np.float32)
    x[0] *= 6
    tensors = []
    for number, data in enumerate((x, x[::-1])):
        result = convert(onnx_graph=cnn(), output_folder_path=tmp_path / f"{number}", outputs=[kind], check="none",
                         calibration={"image@onnx": data}, non_verbose=True)  # fmt: skip
        file = FlatFile(result.files[kind])
        (made,) = (op.outputs[0] for op in file.operators if op.name == "QUANTIZE")
        info = np.iinfo(file.tensors[made].dtype)
        tensors.append(file.tensors[made].real(np.array([info.min, info.max], np.int64)))
    for low, high in tensors:
        assert low <= x.min() * 0.99 and high >= x.max() * 0.99
