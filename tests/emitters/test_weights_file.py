"""``-ow``: beside every .tflite its constants as HDF5, as LiteRT sees them in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite import convert
from onnx2tf_lite.emitters.tflite import weights
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, building, constant
from tests.validation.models import cnn

h5py = pytest.importorskip("h5py")
WRITTEN = ("float32", "float16", "dynamic_range_quant", "integer_quant")


def constants(file: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Data and scales of every tensor that LiteRT can read before anything has been allocated."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter, found = Interpreter(str(file)), {}
    for detail in interpreter.get_tensor_details():
        try:
            data = interpreter.get_tensor(detail["index"])
        except ValueError:  # not a constant
            continue
        found[detail["name"]] = data, detail["quantization_parameters"]["scales"]
    return found


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_constant_of_the_file_is_there(kind: str, tmp_path: Path) -> None:
    result = convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=[kind], output_weights=True,
                     random_calibration=True, check="none", non_verbose=True)  # fmt: skip
    expected = constants(result.files[kind])
    assert any(data.size > 1 for data, _ in expected.values())
    with h5py.File(weights.beside(result.files[kind])) as file:
        for name, (data, scales) in expected.items():
            np.testing.assert_array_equal(file[name][()], data)
            assert file[name][()].dtype == data.dtype and file[name].attrs["name"] == name
            np.testing.assert_array_equal(file[name].attrs.get("scale", []), scales)


def test_a_name_that_is_the_group_of_another_keeps_both(tmp_path: Path) -> None:
    graph = Graph()
    graph.add_input("x", (3,), np.dtype(np.float32))
    with building(graph):
        for i, name in enumerate(("layer", "layer/scale")):
            graph.outputs = [b.emit("ADD", *(graph.outputs or graph.inputs),
                                    constant(np.full(3, i, np.float32), name=name), activation=None)]  # fmt: skip
    graph.output_names = ["y"]
    with h5py.File(weights.write(graph, tmp_path / "g.tflite")) as file:
        assert file["layer.value"][0] == 0 and file["layer/scale"][0] == 1
        assert file["layer.value"].attrs["name"] == "layer"
