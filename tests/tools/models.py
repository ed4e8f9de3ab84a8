"""The small models of the toolbox tests, each built for one difficulty, and the real ones.

`build(name)` gives a fresh ModelProto, `NAMES` all names; `real()` are pytest parameters of real models (path).
`run(model, feeds)` is ONNX Runtime, the judge.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.models import golden

F, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
info, node = helper.make_tensor_value_info, helper.make_node
Array = np.ndarray


def weights(name: str, *shape: int, seed: int = 0) -> TensorProto:
    rng = np.random.default_rng([seed, *map(ord, name)])
    return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model(nodes: list, inputs: list, outputs: list, inits: list = (), opset: int = 17, **extra: Any) -> ModelProto:  # type: ignore[assignment]
    """A checked model of IR 8; ``domains`` imports others, ``functions`` are model-local."""
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in extra.pop("domains", ())]
    functions, checked = extra.pop("functions", []), extra.pop("checked", True)
    graph = helper.make_graph(nodes, extra.pop("name", "g"), inputs, outputs, list(inits))
    made = helper.make_model(graph, opset_imports=imports, ir_version=8, functions=functions, **extra)
    if checked:
        onnx.checker.check_model(made)
    return made


def _layer_norm_11() -> ModelProto:
    axes = [1, 2, 3]
    nodes = [
        node("ReduceMean", ["x", *()], ["mean"], "mean", axes=axes),
        node("Sub", ["x", "mean"], ["centred"], "sub"),
        node("Constant", [], ["two"], "two", value=numpy_helper.from_array(np.array(2, np.float32))),
        node("Pow", ["centred", "two"], ["squared"], "pow"),
        node("ReduceMean", ["squared"], ["variance"], "variance", axes=axes),
        node("Constant", [], ["eps"], "eps", value=numpy_helper.from_array(np.array(1e-5, np.float32))),
        node("Add", ["variance", "eps"], ["shifted"], "add_eps"),
        node("Sqrt", ["shifted"], ["deviation"], "sqrt"),
        node("Div", ["centred", "deviation"], ["normal"], "div"),
        node("Mul", ["normal", "weight"], ["scaled"], "mul"),
        node("Add", ["scaled", "bias"], ["LayerNormalization2D_output"], "add"),
    ]
    for n in nodes:
        n.input[:] = ["LayerNormalization2D_input" if i == "x" else i for i in n.input]
    return model(nodes, *_layer_norm_io(), opset=11)


def _layer_norm_io() -> tuple[list, list, list]:
    shape = [20, 5, 10, 10]
    inits = [
        numpy_helper.from_array(np.full((5, 10, 10), v, np.float32), n) for n, v in (("weight", 0.1), ("bias", 0.2))
    ]
    return [info("LayerNormalization2D_input", F, shape)], [info("LayerNormalization2D_output", F, shape)], inits


def _layer_norm_17() -> ModelProto:
    names = ["LayerNormalization2D_input", "weight", "bias"]
    layer = node("LayerNormalization", names, ["LayerNormalization2D_output"], "ln", axis=-3, epsilon=1e-5)
    return model([layer], *_layer_norm_io(), opset=17, producer_name="pytorch", producer_version="1.14.0")


def _cnn(named: bool = True) -> ModelProto:
    nodes = [
        node("Conv", ["x", "w0", "b0"], ["c0"], "conv0", pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r0"], "relu0"),
        node("Conv", ["r0", "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        node("Add", ["c1", "r0"], ["a0"], "add0"),
        node("Relu", ["a0"], ["r1"], "relu1"),
        node("GlobalAveragePool", ["r1"], ["g0"], "gap0"),
        node("Reshape", ["g0", "shape"], ["f0"], "reshape0"),
        node("Gemm", ["f0", "wg", "bg"], ["y"], "gemm0"),
    ]
    for n in nodes:
        n.doc_string = f"exported from model.py, line {len(n.name)}"
        n.name = n.name if named else ""
    inits = [weights("w0", 8, 3, 3, 3), weights("b0", 8), weights("w1", 8, 8, 3, 3), ints("shape", 1, 8)]
    inits += [weights("wg", 8, 4), weights("bg", 4)]
    made = model(nodes, [info("x", F, [1, 3, 16, 16])], [info("y", F, [1, 4])], inits, doc_string="a small CNN")
    helper.set_model_props(made, {"author": "somebody", "licence": "free"})
    return made


def _chain(*ops: str, opset: int = 11) -> ModelProto:
    """Unary operators one after another (and Add of the input to itself), all names generic."""
    names = ["in", *(f"mid{i}" for i in range(len(ops) - 1)), "out"]
    nodes = [node(op, [names[i]] * (1 + (op == "Add")), [names[i + 1]], f"n{i}") for i, op in enumerate(ops)]
    return model(nodes, [info("in", F, [2, 3])], [info("out", F, [2, 3])], opset=opset)


def _part(letter: str) -> ModelProto:
    """Own input and output names; the internal tensor ``t`` and the initializer ``w`` are called alike in all."""
    nodes = [node("Mul", [f"{letter}_in", "w"], ["t"], f"{letter}_mul"), node("Neg", ["t"], [f"{letter}_out"], letter)]
    io = [info(f"{letter}_in", F, [2, 3])], [info(f"{letter}_out", F, [2, 3])]
    return model(nodes, *io, [weights("w", 2, 3, seed=ord(letter))])


def _dup() -> ModelProto:
    same = weights("w", 16, 16)
    inits = [ints("s0", 4, 16), ints("s1", 4, 16)]
    for k in range(3):
        inits.append(onnx.TensorProto.FromString(same.SerializeToString()))
        inits[-1].name = f"w{k}"
    nodes = [
        node("MatMul", ["x", "w0"], ["m0"], "m0"),
        node("Reshape", ["m0", "s0"], ["h0"], "h0"),
        node("MatMul", ["h0", "w1"], ["m1"], "m1"),
        node("Reshape", ["m1", "s1"], ["h1"], "h1"),
        node("MatMul", ["h1", "w2"], ["y"], "m2"),
    ]
    return model(nodes, [info("x", F, [4, 16])], [info("y", F, [4, 16])], inits)


def _branch(name: str, op: str, *reads: str) -> onnx.GraphProto:
    inner = [node(op, list(reads), [f"{name}_t"], f"{name}_op"), node("Neg", [f"{name}_t"], [f"{name}_out"], "neg")]
    return helper.make_graph(inner, name, [], [info(f"{name}_out", F, [2, 3])])


def _ifm() -> ModelProto:
    bodies = {"then_branch": _branch("then", "Add", "r", "k"), "else_branch": _branch("else", "Mul", "r", "k")}
    nodes = [node("Relu", ["x"], ["r"], "relu"), node("If", ["c"], ["y"], "if0", **bodies)]
    return model(nodes, [info("c", BOOL, []), info("x", F, [2, 3])], [info("y", F, [2, 3])], [weights("k", 2, 3)])


def _loopm() -> ModelProto:
    body = helper.make_graph(
        [
            node("Add", ["state", "outer"], ["next"], "step"),
            node("Identity", ["go"], ["go_out"], "keep_going"),
            node("Neg", ["next"], ["scanned"], "scan"),
        ],
        "body",
        [info("i", I64, []), info("go", BOOL, []), info("state", F, [2, 3])],
        [info("go_out", BOOL, []), info("next", F, [2, 3]), info("scanned", F, [2, 3])],
    )
    nodes = [
        node("Abs", ["x"], ["outer"], "abs"),
        node("Loop", ["trips", "", "x"], ["y", "all"], "loop0", body=body),
    ]
    outputs = [info("y", F, [2, 3]), info("all", F, [None, 2, 3])]
    return model(nodes, [info("x", F, [2, 3])], outputs, [numpy_helper.from_array(np.array(3, np.int64), "trips")])


def _custom() -> ModelProto:
    nodes = [node("Relu", ["x"], ["r"], "relu"), node("Inverse", ["r"], ["y"], "inv", domain="com.microsoft")]
    return model(nodes, [info("x", F, [2, 3, 3])], [info("y", F, [2, 3, 3])], domains=["com.microsoft"])


def _func() -> ModelProto:
    body = [node("Mul", ["a", "a"], ["sq"], "square"), node("Neg", ["sq"], ["b"], "negate")]
    own = helper.make_function("my.domain", "NegSquare", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    nodes = [node("NegSquare", ["x"], ["t"], "call", domain="my.domain"), node("Relu", ["t"], ["y"], "relu")]
    made = model(
        nodes, [info("x", F, [2, 3])], [info("y", F, [2, 3])], domains=["my.domain"], functions=[own],
        producer_name="us", producer_version="3", doc_string="with a function", model_version=7, name="named",
    )  # fmt: skip
    helper.set_model_props(made, {"author": "somebody"})
    made.graph.doc_string, made.graph.node[1].doc_string = "the graph", "the node"
    return made


def _splitm(skip: bool) -> ModelProto:
    parts = ["s0", "" if skip else "s1", "s2"]
    nodes = [node("Split", ["x", "sizes"], parts, "split0", axis=0), node("Add", ["s0", "s2"], ["y"], "add0")]
    return model(nodes, [info("x", F, [6, 3])], [info("y", F, [2, 3])], [ints("sizes", 2, 2, 2)])


def _one(op: str, shape: list, *extra: str, inits: list = (), out: list | None = None, **attrs: Any) -> ModelProto:  # type: ignore[assignment]
    layer = node(op, ["x", *extra], ["y"], f"{op.lower()}0", **attrs)
    return model([layer], [info("x", F, shape)], [info("y", F, shape if out is None else out)], inits)


def _clip() -> ModelProto:
    return _one("Clip", [2, 3], "", "top", inits=[numpy_helper.from_array(np.array(0.5, np.float32), "top")])


def _textm() -> ModelProto:
    """Text comes in."""
    nodes = [node("Equal", ["x", "k"], ["e"], "equal0"), node("Not", ["e"], ["y"], "not0")]
    k = numpy_helper.from_array(np.array(["a", "b", "c"], object), "k")
    return model(nodes, [info("x", TensorProto.STRING, [2, 3])], [info("y", BOOL, [2, 3])], [k], opset=19)


def _seqm() -> ModelProto:
    layer = node("SplitToSequence", ["x"], ["seq"], "split_seq", axis=0)
    made = helper.make_tensor_sequence_value_info("seq", F, None)
    return model([layer], [info("x", F, [4, 3])], [made], checked=False)


def _booln() -> ModelProto:
    nodes = [node("Not", ["x"], ["n"], "not0"), node("Cast", ["n"], ["y"], "cast0", to=F)]
    return model(nodes, [info("x", BOOL, [2, 3])], [info("y", F, [2, 3])])


def _scalarin() -> ModelProto:
    nodes = [node("Mul", ["x", "s"], ["t"], "mul0"), node("ReduceMax", ["t"], ["m"], "max0", keepdims=0)]
    nodes.append(node("Div", ["t", "m"], ["y"], "div0"))
    return model(nodes, [info("x", F, [2, 3]), info("s", F, [])], [info("y", F, [2, 3])])


def _topk() -> ModelProto:
    nodes = [node("TopK", ["x", "k"], ["values", "indices"], "topk0"), node("Relu", ["values"], ["y"], "relu0")]
    return model(nodes, [info("x", F, [2, 8])], [info("y", F, [2, 3])], [ints("k", 3)])


def _emptyl() -> ModelProto:
    layer = node("Foo", ["x"], ["t"], "foo0", domain="my.domain")
    layer.attribute.append(helper.make_attribute("empty", [], attr_type=onnx.AttributeProto.INTS))
    nodes = [layer, node("Relu", ["t"], ["y"], "relu0")]
    return model(nodes, [info("x", F, [2, 3])], [info("y", F, [2, 3])], domains=["my.domain"])


def _fork() -> ModelProto:
    """A tensor with two consumers."""
    nodes = [
        node("Relu", ["x"], ["r"], "relu0"),
        node("Neg", ["r"], ["n"], "neg0"),
        node("Abs", ["n"], ["a"], "abs0"),
        node("Exp", ["n"], ["e"], "exp0"),
        node("Add", ["a", "e"], ["y"], "add0"),
    ]
    return model(nodes, [info("x", F, [2, 3])], [info("y", F, [2, 3])])


def _multiuse() -> ModelProto:
    nodes = [node("Mul", ["x", "x"], ["s"], "square0"), node("Relu", ["s"], ["y"], "relu0")]
    return model(nodes, [info("x", F, [1, 3, 4, 5])], [info("y", F, [1, 3, 4, 5])])


def _sharedk() -> ModelProto:
    nodes = [node("Add", ["x", "k"], ["t"], "add0"), node("Mul", ["t", "k"], ["y"], "mul0")]
    return model(nodes, [info("x", F, [2, 3])], [info("y", F, [2, 3])], [weights("k", 3)])


def _flat(as_node: bool) -> ModelProto:
    nodes = [node("Reshape", ["x", "shape"], ["f"], "reshape0"), node("Relu", ["f"], ["y"], "relu0")]
    shape = ints("shape", 1, -1)
    if as_node:
        nodes.insert(0, node("Constant", [], ["shape"], "shape0", value=shape))
    return model(nodes, [info("x", F, [1, 4, 4])], [info("y", F, [1, 16])], [] if as_node else [shape])


def _resizedyn() -> ModelProto:
    nodes = [
        node("Shape", ["x"], ["s"], "shape0"),
        node("Slice", ["s", "zero", "two"], ["nc"], "slice0"),
        node("Concat", ["nc", "hw"], ["sizes"], "concat0", axis=0),
        node("Resize", ["x", "", "", "sizes"], ["y"], "resize0", mode="linear"),
    ]
    inits = [ints("zero", 0), ints("two", 2), ints("hw", 8, 8)]
    return model(nodes, [info("x", F, ["N", 3, 4, 4])], [info("y", F, ["N", 3, 8, 8])], inits)


def _convbn() -> ModelProto:
    def norm(k: int) -> list[TensorProto]:
        variance = numpy_helper.from_array(np.linspace(0.5, 2, 4).astype(np.float32), f"var{k}")
        return [weights(f"scale{k}", 4), weights(f"bias{k}", 4), weights(f"mean{k}", 4), variance]

    nodes = [
        node("Conv", ["x", "w"], ["c"], "conv0"),
        node("BatchNormalization", ["c", "scale0", "bias0", "mean0", "var0"], ["b"], "bn0"),
        node("Relu", ["b"], ["r"], "relu0"),
        node("BatchNormalization", ["r", "scale1", "bias1", "mean1", "var1"], ["y"], "bn1"),
    ]
    inits = [weights("w", 4, 3, 3, 3), *norm(0), *norm(1)]
    return model(nodes, [info("x", F, [1, 3, 8, 8])], [info("y", F, [1, 4, 6, 6])], inits)


def _badshape() -> ModelProto:
    layer = node("Transpose", ["x"], ["y"], "transpose0", perm=[1, 0])
    return model([layer], [info("x", F, [4, 2])], [info("y", F, [2, 7])])


def _badmm() -> ModelProto:
    layer = node("MatMul", ["x", "w"], ["y"], "matmul0")
    return model([layer], [info("x", F, [2, 5])], [info("y", F, [2, 4])], [weights("w", 3, 4)])


def _dataprop() -> ModelProto:
    nodes = [
        node("Shape", ["x"], ["s"], "shape0"),
        node("Gather", ["s", "zero"], ["n"], "gather0"),
        node("Concat", ["n", "rest"], ["target"], "concat0", axis=0),
        node("Reshape", ["x", "target"], ["f"], "reshape0"),
        node("Relu", ["f"], ["y"], "relu0"),
    ]
    inits = [ints("zero", 0), ints("rest", 12)]
    return model(nodes, [info("x", F, [2, 3, 4])], [info("y", F, ["a", "b"])], inits)


def _many() -> ModelProto:
    names = [f"k{i}" for i in range(1500)]
    nodes = [node("Add", ["x" if i == 0 else f"t{i - 1}", n], [f"t{i}"], f"add{i}") for i, n in enumerate(names)]
    inits = [numpy_helper.from_array(np.array([i, i + 1], np.float32), n) for i, n in enumerate(names)]
    return model(nodes, [info("x", F, [2])], [info(f"t{len(names) - 1}", F, [2])], inits)


MODELS: dict[str, Callable[[], ModelProto]] = {
    "ln11": _layer_norm_11,
    "ln17": _layer_norm_17,
    "cnn": _cnn,
    "cnn_unnamed": lambda: _cnn(named=False),
    "ma": lambda: _chain("Relu", "Neg"),
    "mb": lambda: _chain("Abs", "Exp"),
    "mc": lambda: _chain("Add", "Tanh", opset=17),
    "pa": lambda: _part("a"),
    "pb": lambda: _part("b"),
    "dup": _dup,
    "ifm": _ifm,
    "loopm": _loopm,
    "custom": _custom,
    "func": _func,
    "splitm": lambda: _splitm(skip=False),
    "splitopt": lambda: _splitm(skip=True),
    "clip": _clip,
    "seqm": _seqm,
    "textm": _textm,
    "booln": _booln,
    "scalarin": _scalarin,
    "topk": _topk,
    "emptyl": _emptyl,
    "branch": _fork,
    "multiuse": _multiuse,
    "sharedk": _sharedk,
    "flat": lambda: _flat(as_node=False),
    "flatc": lambda: _flat(as_node=True),
    "resizedyn": _resizedyn,
    "convbn": _convbn,
    "dataprop": _dataprop,
    "many": _many,
}
#: Not valid: what a check must find.
BAD: dict[str, Callable[[], ModelProto]] = {"badshape": _badshape, "badmm": _badmm}
NAMES = sorted(MODELS)


def build(name: str) -> ModelProto:
    return (MODELS | BAD)[name]()


def big(folder: Path, elements: int = 300_000_000) -> Path:
    """Two external tensors of ``elements`` float32 each (2.4 GB by default; sparse files, no disk) and three nodes.
    Only some elements are not zero: the first and the last of each."""
    inits, sides = [], ("a.bin", "b.bin")
    for k, side in enumerate(sides):
        with (folder / side).open("wb") as file:
            for index in (0, elements - 1):
                file.seek(4 * index)
                file.write(np.float32(k + 1).tobytes())
        tensor = TensorProto(name=f"w{k}", data_type=F, dims=[elements // 100, 100], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", side), ("offset", 0), ("length", 4 * elements)):
            tensor.external_data.add(key=key, value=str(value))
        inits.append(tensor)
    nodes = [
        node("Gather", ["w0", "ids"], ["g0"], "gather0"),
        node("Gather", ["w1", "ids"], ["g1"], "gather1"),
        node("Add", ["g0", "g1"], ["y"], "add0"),
    ]
    made = model(nodes, [info("ids", I64, ["n"])], [info("y", F, ["n", 100])], inits, checked=False)
    path = folder / "big.onnx"
    path.write_bytes(made.SerializeToString(deterministic=True))
    return path


def write(folder: Path, *names: str) -> list[Path]:
    """The named models as files ``<name>.onnx``."""
    paths = [folder / f"{name}.onnx" for name in names]
    for path in paths:
        path.write_bytes(build(path.stem).SerializeToString(deterministic=True))
    return paths


def real(*slugs: str) -> list[Any]:
    """Trained models and exports by slug, as pytest parameters of their paths; skipped where they are absent."""
    known = {m.name.partition("/")[2]: m for m in [*golden.real(), *golden.exports()]}
    return _paths([known[slug] for slug in slugs])


def trained() -> list[Any]:
    """All trained models, in the same way."""
    return _paths(golden.real())


def _paths(found: list[golden.Model]) -> list[Any]:
    wanted = golden.parameters(found)
    return [pytest.param(m.values[0].path, id=m.id.partition("/")[2], marks=m.marks) for m in wanted]


def real_feeds(path: Path) -> dict[str, Array]:
    """Inputs for a real model."""
    found = next(m for m in [*golden.real(), *golden.exports()] if m.path == path)
    return found.feeds()[0]


def feeds(made: ModelProto, seed: int = 0, size: int = 2) -> dict[str, Array]:
    """Normal inputs (booleans: both) for a small model; free dimensions are ``size``."""
    rng, held = np.random.default_rng(seed), {t.name for t in made.graph.initializer}
    found = {}
    for item in (i for i in made.graph.input if i.name not in held):
        kind = item.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else size for d in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        found[item.name] = np.asarray(values).astype(dtype)
    return found


def run(made: ModelProto | Path | str, given: dict[str, Array], names: list[str] | None = None) -> dict[str, Any]:
    """ONNX Runtime without optimisations; raises what it raises (and dies of ``splitopt``: do not run that)."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    source = made.SerializeToString() if isinstance(made, ModelProto) else str(made)
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = names or [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def assert_same(got: dict[str, Any], wanted: dict[str, Any], rtol: float = 1e-5) -> None:
    """The same names with the same values, up to rounding."""
    assert list(got) == list(wanted)
    for name, reference in wanted.items():
        np.testing.assert_allclose(got[name], reference, rtol=rtol, atol=1e-6, err_msg=name)


def describe(made: ModelProto) -> str:
    """Nodes and interface in short, for structural assertions: ``relu0:Relu(x)->r``."""
    lines = [f"{n.name}:{n.op_type}({','.join(n.input)})->{','.join(n.output)}" for n in made.graph.node]
    return " ".join([*(v.name for v in made.graph.input), "|", *lines, "|", *(v.name for v in made.graph.output)])
