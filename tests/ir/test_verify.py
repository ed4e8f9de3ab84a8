"""The verifier catches planted faults: each row breaks one correct program in one way."""

# ruff: noqa: E501 (tables: a case per line)
from __future__ import annotations

import cProfile

import numpy as np
import pytest

from onnx2tf_lite import compile
from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.graph import Graph, Op, Quant, Value, building, constant
from onnx2tf_lite.ir.kind import KINDS
from onnx2tf_lite.ir.verify import MEASURED, UNTYPED, verify

F32, I64, I8 = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.int8)


def correct() -> Graph:
    """x -> relu -> + 1 -> transpose; x -> sum."""
    graph = Graph()
    x = graph.add_input("x", (dims.symbol("N"), 3), F32)
    with building(graph):
        y = b.transpose(b.relu(x) + 1.0, (1, 0))
        z = b.reduce("SUM", x, (1,))
    graph.outputs, graph.output_names = [y, z], ["y", "z"]
    return graph


def one(name: str, *inputs: Value, stage: str = "shapes", **attrs) -> None:
    """Verify a program of one operation."""
    graph = Graph(inputs=[v for v in dict.fromkeys(inputs) if v.data is None])
    with building(graph):
        graph.outputs = b.emit_all(name, list(inputs), **attrs)
    graph.output_names = [f"y{i}" for i in range(len(graph.outputs))]
    verify(graph, stage)


def value(*shape, dtype="float32", quant=None, name="v") -> Value:
    return Value(name, shape, np.dtype(dtype), quant=quant)


def const(data, dtype=None) -> Value:
    return constant(np.asarray(data, dtype))


@pytest.mark.parametrize(
    "stage", [*dict.fromkeys(name for rows in (compile.STAGES, *compile.BRANCHES.values()) for name, _ in rows)]
)
def test_a_correct_program_passes(stage):
    verify(correct(), stage)


def test_what_is_said_of_stages_is_said_of_stages() -> None:
    assert set(UNTYPED) < {name for name, _ in compile.STAGES}
    assert all(tuple(name for name, _ in rows[-2:]) == MEASURED for rows in compile.BRANCHES.values())


def _swap(graph: Graph) -> None:
    graph.ops[0], graph.ops[1] = graph.ops[1], graph.ops[0]


def _foreign(graph: Graph) -> None:
    graph.ops[0].inputs[0] = value(4, 3, name="elsewhere")


def _same_name(graph: Graph) -> None:
    graph.ops[1].outputs[0].name = "x"


def _twice(graph: Graph) -> None:
    graph.ops.append(graph.ops[-1])


def _wrong_shape(graph: Graph) -> None:
    graph.ops[1].outputs[0].shape = (dims.symbol("N") + 1, 3)


def _wrong_rank(graph: Graph) -> None:
    graph.ops[2].outputs[0].shape = (3,)


def _wrong_dtype(graph: Graph) -> None:
    graph.ops[3].outputs[0].dtype = np.dtype(np.int32)


def _wrong_producer(graph: Graph) -> None:
    graph.ops[0].outputs[0].producer = graph.ops[2]


def _extra_result(graph: Graph) -> None:
    op = graph.ops[0]
    op.outputs.append(Value("more", (3,), F32, producer=op))


def _missing_attribute(graph: Graph) -> None:
    del graph.ops[3].attrs["axes"]


def _missing_operand(graph: Graph) -> None:
    graph.ops[1].inputs.pop()


def _bad_constant(graph: Graph) -> None:
    graph.ops[1].inputs[1].data = np.zeros(3, np.float32)


def _foreign_output(graph: Graph) -> None:
    graph.outputs[1] = value(3, name="elsewhere")


def _output_names(graph: Graph) -> None:
    graph.output_names.pop()


def _input_with_data(graph: Graph) -> None:
    graph.inputs[0].data = np.zeros((1, 3), np.float32)


STRUCTURE = {
    "order": (_swap, "is read before it is computed"),
    "a value of nowhere": (_foreign, "elsewhere: f32.* is read before it is computed"),
    "a name twice": (_same_name, "a second value is called 'x'"),
    "an operation twice": (_twice, "computed twice"),
    "shape": (_wrong_shape, r"is \[N\+1,3\], not \[N,3\]"),
    "rank": (_wrong_rank, r"is \[3\], not \[3,N\]"),
    "dtype": (_wrong_dtype, "is i32, not f32"),
    "producer": (_wrong_producer, "does not know that this operation computes it"),
    "number of results": (_extra_result, "2 results instead of 1"),
    "attribute": (_missing_attribute, "do not fit the definition of SUM: KeyError 'axes'"),
    "operand": (_missing_operand, "do not fit the definition of ADD|read"),
    "constant": (_bad_constant, r"holds f32\[3\]"),
    "output of nowhere": (_foreign_output, "the output elsewhere: .* is not computed"),
    "names of outputs": (_output_names, "2 outputs have 1 names"),
    "input that is a constant": (_input_with_data, "is also a constant"),
}


@pytest.mark.parametrize("stage", ["lower", "layout", "shapes", "a stage of a device"])
@pytest.mark.parametrize("fault", [f for f in STRUCTURE if f != "operand"])
def test_structure(fault, stage):
    plant, message = STRUCTURE[fault]
    graph = correct()
    plant(graph)
    with pytest.raises(ConversionError, match=message) as error:
        verify(graph, stage)
    assert f"after {stage}: " in str(error.value)


def _forgetful(graph: Graph, settings: compile.Settings) -> Graph:
    graph.ops.pop(0)
    return graph


def _idle(graph: Graph, settings: compile.Settings) -> Graph:
    return graph


@pytest.mark.parametrize(("after_each", "named"), [(True, "forgets"), (False, "begins, forgets, ends")])
def test_a_program_is_verified_before_it_changes_hands(after_each, named, monkeypatch):
    monkeypatch.setattr(compile, "AFTER_EACH", after_each)
    with pytest.raises(ConversionError, match=f"after {named}: .* is read before it is computed"):
        compile.run(correct(), [("begins", _idle), ("forgets", _forgetful), ("ends", _idle)])


def test_the_tests_verify_after_every_stage():
    assert compile.AFTER_EACH


QUANT = Quant(np.float32([0.1]), np.int64([0]), I8)
WINDOW = {"padding": "VALID", "strides": (1, 1), "dilations": (1, 1), "activation": None}
# what to build, the message; all are found from legalize on and not before
KERNELS = {
    "int8 without a scale": (lambda s: one("ADD", value(3, dtype="int8"), const([1, 2, 3], I8), activation=None, stage=s), "no kernel for i8"),
    "int64 division": (lambda s: one("DIV", value(3, dtype="int64"), const([1, 2, 3]), activation=None, stage=s), "no kernel for i64"),
    "uint64": (lambda s: one("CAST", value(3), to=np.dtype(np.uint64), stage=s), "uint64 has no kernel"),
    "rank 6 pad": (lambda s: one("PAD", value(*[2] * 6), pads=((0, 1),) * 6, stage=s), "rank 6, the kernel has at most 5"),
    "rank 7 mean": (lambda s: one("MEAN", value(*[2] * 7), axes=(1,), keepdims=False, stage=s), "rank 7, the kernel has at most 6"),
    "fused tanh": (lambda s: one("ADD", value(3), const([1.0, 2, 3], F32), activation="TANH", stage=s), "no kernel fuses TANH"),
    "fused on concatenation": (lambda s: one("CONCATENATION", value(3), value(3, name="w"), axis=0, activation="RELU", stage=s), "ignores the activation RELU"),
    "transposed scalar": (lambda s: one("TRANSPOSE", value(), perm=(), stage=s), "wrong for scalars"),
    "shape of a scalar": (lambda s: one("SHAPE", value(), stage=s), "wrong for scalars"),
    "where of a scalar": (lambda s: one("WHERE", value(dtype="bool"), stage=s), "wrong for scalars"),
    "reversed distant axes": (lambda s: one("REVERSE_V2", value(2, 3, 4), axes=(0, 2), stage=s), "not neighbours"),
    "both resize flags": (lambda s: one("RESIZE_BILINEAR", value(1, 2, 2, 1), size=(4, 4), align_corners=True, half_pixel_centers=True, stage=s), "together"),
    "negative index": (lambda s: one("GATHER", value(5, 2), const([0, -1], np.int32), axis=0, batch_dims=0, stage=s), "index -1 is outside the extent 5"),
    "index too large": (lambda s: one("GATHER", value(5, 2), const([5], np.int32), axis=0, batch_dims=0, stage=s), "index 5 is outside the extent 5"),
    "negative index vector": (lambda s: one("GATHER_ND", value(5, 2), const([[0, -2]], np.int32), stage=s), "index -2 is outside the extent 2"),
    "index dtype": (lambda s: one("GATHER", value(5, 2), value(3, dtype="uint8", name="i"), axis=0, batch_dims=0, stage=s), "indices of u8"),
    "scatter with int64": (lambda s: one("SCATTER_ND", const([[0]]), value(1), shape=(4,), stage=s), "indices of i64, the kernel has i32"),
    "negative scatter": (lambda s: one("SCATTER_ND", const([[-1]], np.int32), value(1), shape=(4,), stage=s), "negative index"),
    "division by zero": (lambda s: one("FLOOR_MOD", value(3, dtype="int32"), const([1, 0, 3], np.int32), stage=s), "divided by the constant 0"),
    "atan2 broadcast": (lambda s: one("ATAN2", value(3, 4), value(4, name="w"), stage=s), "does not broadcast"),
    "prelu that enlarges": (lambda s: one("PRELU", value(1, 4), value(3, 4, name="w"), stage=s), "does not broadcast to"),
    "topk of too few": (lambda s: one("TOPK_V2", value(3), k=4, stage=s), "k = 4 of 3"),
    "bias of the wrong length": (lambda s: one("CONV_2D", value(1, 4, 4, 2), value(3, 1, 1, 2, name="w"), value(2, name="b"), **WINDOW, stage=s), "the bias .* is not"),
    "quantised without parameters": (lambda s: one("DEQUANTIZE", value(3, dtype="int8"), quant=QUANT, stage=s), "does not carry its quantisation"),
}  # fmt: skip


@pytest.mark.parametrize("fault", KERNELS)
def test_kernels(fault):
    plant, message = KERNELS[fault]
    plant("lower")
    for stage in ("legalize", "layout", "shapes"):
        with pytest.raises(ConversionError, match=message):
            plant(stage)


def test_a_quantised_operand_is_another_kernel():
    graph = Graph(inputs=[value(3, dtype="int8", quant=QUANT)])
    with building(graph):
        graph.outputs, graph.output_names = [b.emit("RELU", graph.inputs[0])], ["y"]
    verify(graph)


def _loop(result: Value) -> Graph:
    condition, body, graph = Graph("condition"), Graph("body"), Graph()
    for part in (condition, body):
        part.add_input(f"{part.name}/i", (), np.dtype(np.int32))
    with building(condition):
        condition.outputs = [b.less(condition.inputs[0], np.int32(3))]
    body.outputs = [result]
    if result.data is None:
        body.inputs[0] = result
    start = graph.add_input("start", (), np.dtype(np.int32))
    with building(graph):
        graph.outputs = b.emit_all("WHILE", [start], condition=condition, body=body, results=[((), np.dtype(np.int32))])
    graph.output_names = ["y"]
    return graph


def test_bodies_match_their_operation():
    verify(_loop(value(dtype="int32", name="body/i")), "lower")
    with pytest.raises(ConversionError, match="results of the body"):
        verify(_loop(value(dtype="int64", name="body/i")), "lower")
    with pytest.raises(ConversionError, match="results of the body"):
        verify(_loop(value(1, dtype="int32", name="body/i")), "lower")


def test_the_last_stage_leaves_nothing():
    graph = correct()
    with building(graph):
        unread = b.relu(graph.inputs[0])
        shape = b.dims_value(graph.inputs[0].shape)
        flat = b.reshape(unread, (graph.inputs[0].shape[0] * 3,))
    graph.definitions["N"] = (shape, 0)
    graph.outputs[0] = flat
    verify(graph, "fuse")
    with pytest.raises(ConversionError) as error:
        verify(graph)
    for what in (
        "nobody reads the results",
        "shape arithmetic is left",
        "attribute shape is symbolic",
        "symbols are left: N",
    ):
        assert what in str(error.value)


def test_at_most_twenty_faults_are_reported():
    graph = correct()
    graph.ops += [Op(KINDS["RELU"], [value(3, name=f"v{i}")], [], {}) for i in range(50)]
    with pytest.raises(ConversionError) as error:
        verify(graph)
    assert len(error.value.problems) == 20


def test_it_takes_so_much_for_each_operation():
    """In calls of functions, which no other work on the machine makes more."""
    assert _calls(400) < 2.1 * _calls(200)


def _calls(blocks: int) -> int:
    graph = Graph()
    x = graph.add_input("x", (dims.symbol("N"), 8, 8, 16), F32)
    w, bias = const(np.zeros((16, 3, 3, 16)), F32), const(np.zeros(16), F32)
    with building(graph):
        for _ in range(blocks):
            y = b.emit("CONV_2D", x, w, bias, **(WINDOW | {"padding": "SAME"}))
            x = b.relu(y) * 2.0 + x
    graph.outputs, graph.output_names = [x], ["y"]
    assert len(graph.ops) == 4 * blocks
    profile = cProfile.Profile()
    profile.runcall(verify, graph)
    return sum(entry.callcount for entry in profile.getstats())
