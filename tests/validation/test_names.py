"""Names of extents are not believed where they say nothing: pictures have any sides, whatever those are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import convert, validation

from .models import model

TEXT = """g (float[N,3,A,B] x) => (float[P,Q,R] y) {
  a = Conv<pads=[1,1,1,1]>(x, w)
  t = Transpose<perm=[0,2,3,1]>(a)
  s = Shape(a)
  rows = Gather<axis=0>(s, two)
  r = Concat<axis=0>(one, rows, rest)
  y = Reshape(t, r)
}"""


def rows(words: tuple[str, str, str]) -> onnx.ModelProto:
    """[1, rows, columns * channels] of a convolved picture, whose extents are called as ``words`` say."""
    proto = model(TEXT, w=(4, 3, 3, 3), two=np.array([2]), one=np.array([1]), rest=np.array([-1]))
    free = [d for d in proto.graph.input[0].type.tensor_type.shape.dim if d.dim_param]
    for dim, word in zip(free, words, strict=True):
        dim.dim_param = word
    return proto


NAMES = {
    "question marks": ("?", "?", "?"),
    "nothing": ("", "", ""),
    "None": ("None", "None", "None"),
    "unk__": ("unk__1", "unk__1", "unk__1"),
    "one real name": ("n", "size", "size"),
    "different names": ("n", "h", "w"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "-b 1": {"batch_size": 1},
    "-ois": {"overwrite_input_shape": ["x:1,3,8,12"]},
    "-sh": {"shape_hints": ["x:1,3,8,12"]},
    "-tdnp": {"test_data": {"x@onnx": np.random.default_rng(2).standard_normal((1, 3, 8, 12)).astype(np.float32)}},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("words", NAMES.values(), ids=NAMES)
def test_a_picture_need_not_be_a_square(words: tuple[str, str, str], options: dict[str, Any], tmp_path: Path) -> None:
    proto = rows(words)
    result = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], non_verbose=True, **options)
    assert result.exit_code == 0 and result.check is not None
    for shapes in result.check.samples:
        assert shapes["x"][2] != shapes["x"][3], "a square cannot tell height from width"
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 12)).astype(np.float32)}
    again = validation.check(proto, result.files["float32"], {"x@onnx": feeds["x"]})
    assert again.exit_code == 0 and again.samples == [{"x": (1, 3, 8, 12)}]


def test_a_time_called_batch_is_no_batch() -> None:
    """Drawn as one or two samples of sound, nothing would be left to convolve."""
    proto = model("""g (float[batch] x) => (float[1,4,M] y) {
        u = Unsqueeze(x, axes)
        y = Conv<strides=[160]>(u, w) }""", axes=np.array([0, 1]), w=(4, 1, 400))  # fmt: skip
    result = convert(onnx_graph=proto, outputs=["float32"], disable_model_save=True, non_verbose=True)
    assert result.exit_code == 0 and result.check is not None
    lengths = [shapes["x"][0] for shapes in result.check.samples]
    assert len(set(lengths)) == 2 and min(lengths) >= 400


def test_a_second_size_that_leaves_nothing_is_not_taken() -> None:
    """Down to a sixteenth, and two rows cut off: 32 pixels run, and make an empty tensor."""
    proto = model("""g (float[1,3,32,W] x) => (float[1,4,2,V] y) {
        a = Conv<strides=[16,16]>(x, w)
        y = Slice(a, two, end, three) }""",
        w=(4, 3, 16, 16), two=np.array([2]), end=np.array([2**40]), three=np.array([3]))  # fmt: skip
    result = convert(onnx_graph=proto, outputs=["float32"], disable_model_save=True, non_verbose=True)
    assert result.exit_code == 0 and result.check is not None
    assert all(shapes["x"][3] > 32 for shapes in result.check.samples) and len(result.check.samples) == 2
