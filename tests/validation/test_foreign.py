"""Files that carry no map: matched by names and shapes, and never by values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite import convert, validation
from onnx2tf_lite.validation.files.program import fit

from .editor import Editor
from .models import cnn, model


def strip(source: Path, target: Path, rename: dict[bytes, bytes] | None = None) -> Path:
    """The file without its map, and its signature's outputs renamed."""
    edit = Editor(source)
    edit.model.metadata = None
    for entry in edit.model.signatureDefs[0].outputs:
        entry.name = (rename or {}).get(entry.name, entry.name)
    for tensor in edit.graph.tensors:
        tensor.name = (rename or {}).get(tensor.name, tensor.name)
    return edit.save(target)


FITS = {
    "same order": ((2, 3), (2, 3), False, (0, 1), False),
    "channels-last": ((1, 3, 8, 10), (1, 8, 10, 3), True, (0, 2, 3, 1), False),
    "whatever the file computes": ((1, 3, 8, 10), (1, 8, 10, 3), False, (0, 2, 3, 1), False),
    "square image, unambiguous": ((1, 3, 8, 8), (1, 8, 8, 3), True, (0, 2, 3, 1), True),
    "cube in a convolutional file": ((2, 2, 2, 2), (2, 2, 2, 2), True, (0, 2, 3, 1), True),
    "cube elsewhere": ((2, 2, 2, 2), (2, 2, 2, 2), False, (0, 1, 2, 3), True),
    "one axis of 1 more": ((1, 5), (5,), False, None, False),
    "another tensor": ((2, 3), (2, 4), False, None, None),
}


@pytest.mark.parametrize("shape, stored, image, perm, assumed", FITS.values(), ids=FITS)
def test_permutation_by_shape(
    shape: tuple[int, ...], stored: tuple[int, ...], image: bool, perm: tuple[int, ...] | None, assumed: bool | None
) -> None:
    place, several = fit(shape, stored, image)
    if assumed is None:
        assert place is None
        return
    assert place is not None and several == assumed
    array = np.arange(np.prod(shape)).reshape(shape)
    if perm is not None:
        assert np.array_equal(place.store(array, {}), array.transpose(perm))
    assert place.store(array, {}).shape == stored
    assert np.array_equal(place.restore(place.store(array, {}), {}), array)


def test_a_file_without_a_map_is_matched(tmp_path: Path) -> None:
    made = convert(
        onnx_graph=cnn("1"), output_folder_path=tmp_path, outputs=["float32"], check="none", non_verbose=True
    )
    path = strip(made.files["float32"], tmp_path / "foreign.tflite")
    report = validation.check(cnn("1"), path)
    (file,) = report.files
    assert report.exit_code == 0 and file.matched == "names and shapes"
    assert {"r1", "s2", "t3", "scores"} <= {r.tensor for r in file.layers}
    assert next(r for r in file.layers if r.tensor == "r1").perm == (0, 2, 3, 1)
    assert {r.tensor for r in file.layers if r.assumed} == {"t3"}, "its [1,6,6,5] is [1,6,5,6] in two ways"


def test_other_output_names_go_by_order(tmp_path: Path) -> None:
    made = convert(
        onnx_graph=cnn("1"), output_folder_path=tmp_path, outputs=["float32"], check="none", non_verbose=True
    )
    path = strip(made.files["float32"], tmp_path / "foreign.tflite", {b"scores": b"StatefulPartitionedCall:0"})
    (file,) = validation.check(cnn("1"), path).files
    assert file.ok and [r.stored for r in file.outputs] == ["StatefulPartitionedCall:0"]
    assert any("matched by their order" in note for note in file.notes)


SQUARE = "g (float[1,4,4,4] x) => (float[1,4,4,4] y) { c = Conv<pads=[1,1,1,1]>(x, w)\n y = Sigmoid(c) }"


def test_an_ambiguous_permutation_is_said_to_be_assumed(tmp_path: Path) -> None:
    proto = model(SQUARE, w=(4, 4, 3, 3))
    made = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], check="none", non_verbose=True)
    path = strip(made.files["float32"], tmp_path / "foreign.tflite")
    (file,) = validation.check(proto, path).files
    assert file.ok and all(r.assumed for r in file.outputs) and "permutation assumed" in file.verdict


def test_a_wrong_order_is_not_matched_away(tmp_path: Path) -> None:
    """Values of the result transposed: another permutation would make them right, and is not tried."""
    proto = model(SQUARE, w=(4, 4, 3, 3))
    made = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], check="none", non_verbose=True)
    edit = Editor(made.files["float32"])
    edit.model.metadata = None
    edit.swap_after(len(edit.graph.operators) - 1, [0, 2, 1, 3])
    (file,) = validation.check(proto, edit.save(tmp_path / "turned.tflite")).files
    assert not file.ok and [r.tensor for r in file.culprits] == ["y"]
