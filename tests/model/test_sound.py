"""What a model says of itself is looked at before anything relies on it: one error that names the place, no crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper, parser

from onnx2tf_lite import ConversionError, convert
from onnx2tf_lite.model import inference
from tests.harness import new_onnx

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'


def relu() -> ModelProto:
    return parser.parse_model(HEADER + "g (float[2,3] x) => (float[2,3] y) <float[2] w = {1, 2}> { y = Relu(x) }")


def one(text: str, shape: str = "2,3,4,4") -> Callable[[], ModelProto]:
    """A model of one node, without the shape of its result."""
    return lambda: parser.parse_model(HEADER + f"g (float[{shape}] x) => (float y) {{ y = {text}(x) }}")


def _changed(change: Callable[[ModelProto], object]) -> Callable[[], ModelProto]:
    def make() -> ModelProto:
        model = relu()
        change(model)
        return model

    return make


def _constant(*attributes: AttributeProto) -> Callable[[], ModelProto]:
    return _changed(lambda m: m.graph.node.insert(0, NodeProto(op_type="Constant", output=["c"], attribute=attributes)))


def _sparse(model: ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "")
    model.graph.sparse_initializer.add(values=values, indices=indices, dims=[10**6, 10**6])


def _nested(model: ModelProto) -> None:
    body = parser.parse_graph("b () => (float[2,3] z) { z = Identity(x) }")
    for depth in range(28):
        outer = parser.parse_graph(f"b{depth} () => (float[2,3] z{depth}) {{ }}")
        node = helper.make_node("If", ["c"], [f"z{depth}"], then_branch=body, else_branch=body)
        node.attribute[1].g.Clear()
        outer.node.append(node)
        body = outer
    model.graph.node.extend(body.node)


def _function(nodes: str, count: int = 1) -> Callable[[], ModelProto]:
    text = "".join(
        f'<opset_import: ["" : 17, "f" : 1], domain: "f"> F{i} (a) => (b) {{ {nodes.format(i + 1)} }}\n'
        for i in range(count)
    )
    last = f'<opset_import: ["" : 17], domain: "f"> F{count} (a) => (b) {{ b = Relu(a) }}'
    head = '<ir_version: 9, opset_import: ["" : 17, "f" : 1]>\n'
    return lambda: parser.parse_model(head + "g (float[2] x) => (float[2] y) { y = f.F0(x) }\n" + text + last)


FAULTS: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "an unknown type of an input": (
        _changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77)),
        "77 is no element type",
    ),
    "an unknown type of a constant": (_changed(lambda m: setattr(m.graph.initializer[0], "data_type", -3)), "-3 is no"),
    "contents that do not fit": (_changed(lambda m: m.graph.initializer[0].dims.append(3)), "needs 6"),
    "segments": (_changed(lambda m: m.graph.initializer[0].segment.SetInParent()), "in segments"),
    "a Constant of nothing": (_constant(), "holds nothing"),
    "a Constant of two": (
        _constant(helper.make_attribute("value_int", 1), helper.make_attribute("value_float", 1.0)),
        "holds value_int, value_float",
    ),
    "a sparse tensor of 10^12 elements": (_changed(_sparse), "1,000,000,000,000 elements"),
    "bodies in bodies": (_changed(_nested), "nested more than"),
    "a call with too many inputs": (
        lambda: parser.parse_model(
            '<ir_version: 9, opset_import: ["" : 17, "f" : 1]>\ng (float[2] x) => (float[2] y) { y = f.F(x, x) }\n'
            '<opset_import: ["" : 17], domain: "f"> F (a) => (b) { b = Relu(a) }'
        ),
        "is called with 2 inputs",
    ),
    "functions that double": (_function("c = f.F{0}(a) d = f.F{0}(a) b = Add(c, d)", 40), "written out they are"),
    "perm": (one("Transpose<perm = [0, 1, 1, 3]>"), "'perm' is [0, 1, 1, 3], no permutation"),
    "a mode": (one("DepthToSpace<blocksize = 2, mode = \"bogus\">"), "'bogus', not one of DCR, CRD"),
    "a type to cast to": (one("Cast<to = 255>"), "'to' is 255, which is no element type"),
    "a stride": (one("MaxPool<kernel_shape = [2, 2], strides = [1, 0]>"), "'strides' is 0, not between 1 and"),
    "windows larger than the image": (
        lambda: parser.parse_model(
            HEADER + "g (float[1,1,3,3] x) => (float y) <int64[1] a = {2}, int64[1] s = {0}, int64[1] e = {2}> {"
            " p = MaxPool<kernel_shape = [7, 7]>(x) y = Slice(p, s, e, a) }"
        ),
        "MaxPool 'p' would have a result with the extent -3",
    ),
    "axes beyond any kernel": (one("Relu", ",".join(["1"] * 20)), "has 20 axes, and TFLite's kernels take at most 8"),
    "a group": (one("Softmax<axis = 9223372036854775807>"), "'axis' is 9223372036854775807"),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=new_onnx) if "windows" in n else n for n in FAULTS])
def test_one_error_names_the_place(name: str) -> None:
    make, said = FAULTS[name]
    with pytest.raises(ConversionError) as caught:
        convert(onnx_graph=make(), disable_model_save=True, outputs=["float32"], verbosity="error")
    assert said in str(caught.value)
    assert not any(problem.ours for problem in caught.value.problems)


@pytest.mark.parametrize("depth", [40, 1000])
def test_bodies_that_protobuf_cannot_take_are_said_to_be_that(depth: int, tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        return bytes(_varint(number << 3 | 2)) + bytes(_varint(len(content))) + content

    graph = b""
    for _ in range(depth):
        body = field(5, field(1, b"then_branch") + field(6, graph))
        graph = field(1, field(4, b"If") + body)
    (tmp_path / "deep.onnx").write_bytes(field(7, graph))
    with pytest.raises(ConversionError, match="nested too deeply"):
        convert(tmp_path / "deep.onnx", tmp_path / "out", verbosity="error")


def _varint(number: int) -> Iterator[int]:
    while number > 127:
        yield number & 127 | 128
        number >>= 7
    yield number


@pytest.mark.parametrize(
    "model",
    [
        one("LayerNormalization<axis = -3>", "2,3"),
        one("Relu", "1,9223372036854775807"),
    ],
)
def test_inference_is_not_called_on_what_it_cannot_bear(model: Callable[[], ModelProto]) -> None:
    assert not inference._usual(model())


def test_vectors_that_inference_does_not_know_double_too() -> None:
    nodes = " ".join(f"p{i + 1} = Concat<axis = 0>(p{i}, p{i})" for i in range(30))
    model = parser.parse_model(HEADER + f"g (float[4] x) => (float y) {{ p0 = Relu(x) {nodes} y = Relu(p30) }}")
    assert not inference._usual(model)


@pytest.mark.parametrize("count", [18, 40])
def test_a_shape_that_doubles_ends(count: int) -> None:
    nodes = "\n".join(f"p{i + 1} = Concat<axis = 0>(p{i}, p{i})" for i in range(count))
    text = f"g (float[2] x) => (int64[k] y) {{ p0 = Shape(x)\n{nodes}\n y = Identity(p{count}) }}"
    model = parser.parse_model(HEADER + text)
    assert not inference._usual(model)
    assert len(inference.infer_shapes(model).graph.value_info) >= count


def test_negative_extents_are_unknown_ones() -> None:
    text = "g (float[-2,3] x) => (float y) <int64[1] a = {0}, int64[1] b = {1}> { y = Slice(x, a, b, a) }"
    result = convert(
        onnx_graph=parser.parse_model(HEADER + text), disable_model_save=True, outputs=["float32"], verbosity="error"
    )
    assert result.exit_code == 0


def test_a_usual_model_needs_no_child() -> None:
    end = f"int64[1] e = {{{2**63 - 1}}}"
    text = f"g (float[b,3,8] x) => (float y) <int64[1] a = {{0}}, {end}> {{ y = Slice(x, a, e) }}"
    assert inference._usual(parser.parse_model(HEADER + text))


def test_a_model_without_outputs_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    model = relu()
    del model.graph.output[:]
    with pytest.raises(ConversionError, match="has no outputs"):
        convert(onnx_graph=model, output_folder_path=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_resizing_no_elements_to_a_size_of_run_time_is_one_error() -> None:
    """Found by the fuzzer: a ratio to nothing."""
    text = 'g (float[1,1,2,0] x, int64[4] s) => (float[1,1,n,m] y) { y = Resize <mode = "nearest"> (x, , , s) }'
    with pytest.raises(ConversionError, match="an axis without elements"):
        convert(
            onnx_graph=parser.parse_model('<ir_version: 9, opset_import: ["" : 19]>' + text), disable_model_save=True
        )
