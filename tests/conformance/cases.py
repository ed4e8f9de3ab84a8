"""The cases of ONNX's backend suite, as the installed onnx package has them, and their variants.

The node suite is code in that package and runs once per process (ten seconds); the other suites are files.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, defs, numpy_helper

FILES = ("simple", "pytorch-operator", "pytorch-converted")
SUITES = ("node", *FILES)
VARIANTS = ("plain", "baked", "dynamic", "saved-model")
Arrays = Mapping[str, Any]

#: Operators whose results are random: only the shape can be right or wrong.
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
#: Element types that no general TFLite kernel takes, by the beginning of their name.
FOREIGN = ("BFLOAT16", "FLOAT8", "FLOAT6", "FLOAT4", "INT4", "UINT4", "INT2", "UINT2", "COMPLEX")
TYPED = {"to", "dtype", "output_dtype", "stash_type", "softmax_precision"}  # attributes that name an element type


@dataclass(frozen=True)
class Case:
    """A model with (inputs, expected outputs) by name, one pair for each data set.

    ``foreign`` says what puts it out of scope (nothing: in scope); ``operator`` is the one that the case is about,
    ``domain.name`` outside the default domain, or "" for models of several.
    """

    name: str
    model: ModelProto
    data: Sequence[tuple[Arrays, Arrays]]
    foreign: tuple[str, ...]
    random: bool
    operator: str

    @property
    def in_scope(self) -> bool:
        return not self.foreign

    @property
    def version(self) -> int:
        """The version of the operator that the model uses; 0 for models of several."""
        domain, _, name = self.operator.rpartition(".")
        opset = next((o.version for o in self.model.opset_import if o.domain in (domain, domain or "ai.onnx")), 1)
        return defs.get_schema(name, opset, domain).since_version if defs.has(name, opset, domain) else 0

    @property
    def dtype(self) -> str:
        """The element type that the case is about: that of the first input, else of the first output."""
        kind = [*self.model.graph.input, *self.model.graph.output][0].type
        while (container := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
            kind = getattr(kind, container).elem_type
        code = (kind.sparse_tensor_type if container == "sparse_tensor_type" else kind.tensor_type).elem_type
        return "string" if code == TensorProto.STRING else onnx.helper.tensor_dtype_to_np_dtype(code).name


@functools.cache
def cases() -> dict[str, Case]:
    """Every case of the four suites by ``suite/name``."""
    files = (c for suite in FILES for c in read_folder(_package() / suite, suite))
    return {c.name: c for c in (*_node_cases(), *files)}


def _package() -> Path:
    return Path(onnx.__file__).parent / "backend" / "test" / "data"


def _node_cases() -> Iterator[Case]:
    """Made by onnx's own code; up to 1.19 the package had them as files."""
    if (folder := _package() / "node").exists():
        yield from read_folder(folder, "node")
        return
    from onnx.backend.test.loader import load_node_model_tests

    state = np.random.get_state()  # some cases take their data from here
    np.random.seed(0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        made = load_node_model_tests()
    np.random.set_state(state)
    yield from (_case(f"node/{c.name}", c.model, [_named(c.model, *data) for data in c.data_sets]) for c in made)


def read_folder(folder: Path, suite: str = "") -> Iterator[Case]:
    """The cases in a folder of ``name/model.onnx`` with ``name/test_data_set_0/input_0.pb``, ..."""
    for path in sorted(folder.glob("*/model.onnx")):
        model = onnx.load(path)
        data = []
        for part in sorted(path.parent.glob("test_data_set_*")):
            columns = zip(("input", "output"), (model.graph.input, model.graph.output), strict=True)
            read = ([_read(part / f"{kind}_{i}.pb", info) for i, info in enumerate(infos)
                     if (part / f"{kind}_{i}.pb").exists()] for kind, infos in columns)  # fmt: skip
            data.append(_named(model, *read))
        yield _case(f"{suite or folder.name}/{path.parent.name}", model, data)


PROTOS: dict[str | None, tuple[Any, Any]] = {
    "sequence_type": (onnx.SequenceProto, numpy_helper.to_list),
    "optional_type": (onnx.OptionalProto, numpy_helper.to_optional),
}


def _read(path: Path, info: onnx.ValueInfoProto) -> Any:
    proto, decode = PROTOS.get(info.type.WhichOneof("value"), (TensorProto, numpy_helper.to_array))
    message = proto()
    message.ParseFromString(path.read_bytes())
    return decode(message)


def _named(model: ModelProto, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[Arrays, Arrays]:
    infos = list(model.graph.input)
    if len(inputs) < len(infos):  # initializers may be listed as inputs
        infos = open_inputs(model)
    given, wanted = ({v.name: _array(x) for v, x in zip(some, values, strict=False)}
                     for some, values in ((infos, inputs), (model.graph.output, outputs)))  # fmt: skip
    return given, wanted


def _array(value: Any) -> Any:
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return value if value is None or isinstance(value, (list, dict)) else np.asarray(value)


def open_inputs(model: ModelProto) -> list[onnx.ValueInfoProto]:
    """The graph inputs that are no initializers."""
    constants = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in constants]


# ------------------------------------------------------------------------------------------------ what a case is about


def _case(name: str, model: ModelProto, data: Sequence[tuple[Arrays, Arrays]]) -> Case:
    return Case(name, model, data, tuple(sorted(foreign(model))), is_random(model, data), subject(name, model))


def subject(name: str, model: ModelProto) -> str:
    """The operator that a case of this name is about."""
    nodes = [n for n in model.graph.node if n.op_type not in ("Constant", "Identity")] or list(model.graph.node)
    kinds = {n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}" for n in nodes}
    return kinds.pop() if len(kinds) == 1 and not re.search(r"_expanded(_ver\d+)?$", name) else ""


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs:
                yield from _graphs(body)


def _nodes(model: ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _foreign_type(code: int) -> set[str]:
    name = TensorProto.DataType.Name(code) if code in TensorProto.DataType.values() else f"type{code}"
    return {name.lower()} if name.startswith(FOREIGN) else set()


def foreign(model: ModelProto) -> set[str]:
    """What in a model TFLite has no general form for: types, kinds of values at its edges, the training domain."""
    found: set[str] = set()
    for graph in _graphs(model.graph):
        for value in (*graph.input, *graph.output):
            kind = value.type.WhichOneof("value")
            if kind in ("tensor_type", "sparse_tensor_type"):
                code = getattr(value.type, kind).elem_type
                found |= _foreign_type(code)
                found |= {"string"} if code == TensorProto.STRING and graph is model.graph else set()
            if kind not in (None, "tensor_type") and graph is model.graph:
                found.add(kind.removesuffix("_type").replace("_tensor", ""))
        for value in graph.value_info:
            found |= _foreign_type(value.type.tensor_type.elem_type)
        for tensor in graph.initializer:
            found |= _foreign_type(tensor.data_type)
    for node in _nodes(model):
        found |= {"training operator"} if node.domain.startswith("ai.onnx.preview.training") else set()
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                found |= _foreign_type(attribute.t.data_type)
            elif attribute.type == AttributeProto.INT and attribute.name in TYPED:
                found |= _foreign_type(attribute.i)
    return found


def is_random(model: ModelProto, data: Sequence[tuple[Arrays, Arrays]]) -> bool:
    """True where results are drawn at random: RANDOM, and Dropout in training."""
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    known |= {n.output[0]: numpy_helper.to_array(a.t) for n in model.graph.node if n.op_type == "Constant"
              for a in n.attribute if a.name == "value"}  # fmt: skip
    known |= data[0][0] if data else {}
    for node in _nodes(model):
        if node.op_type == "Dropout":
            old = any(a.name == "is_test" and not a.i for a in node.attribute)
            if old or (len(node.input) > 2 and np.any(known.get(node.input[2], False))):
                return True
        if node.op_type in RANDOM:
            return True
    return False


# ------------------------------------------------------------------------------------------------ variants


def baked(case: Case) -> Case | None:
    """The case with every input but the first as an initializer, as exporters write weights, axes and shapes; None
    where that is no other case."""
    inputs = list(case.model.graph.input)
    if len(case.data) != 1 or not len(inputs) == len(case.data[0][0]) == len(open_inputs(case.model)) >= 2:
        return None
    if any(v.type.WhichOneof("value") != "tensor_type" for v in inputs):
        return None
    model = ModelProto()
    model.CopyFrom(case.model)
    feeds, expected = case.data[0]
    for info in inputs[1:]:
        tensor = numpy_helper.from_array(feeds[info.name], info.name)
        tensor.data_type = info.type.tensor_type.elem_type
        model.graph.initializer.append(tensor)
    if model.ir_version >= 4:  # below, initializers are listed as inputs too
        del model.graph.input[1:]
    first = inputs[0].name
    return replace(case, model=model, data=(({first: feeds[first]}, expected),))


#: Operator -> inputs whose own lengths say how many axes or results there are, which no TFLite model can leave open:
#: axes, shapes, pads, scales, ... with an entry per axis, the pieces of a Split.
RANKS: dict[str, tuple[int, ...]] = {
    **{f"Reduce{r}": (1,) for r in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min")},
    **{f"Reduce{r}": (1,) for r in ("Prod", "Sum", "SumSquare")},
    "AffineGrid": (1,), "CenterCropPad": (1,), "Col2Im": (1, 2), "ConstantOfShape": (0,), "Expand": (1,),
    "MaxUnpool": (2,), "Pad": (1, 3), "Reshape": (1,), "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4), "Split": (1,),
    "SplitToSequence": (1,), "Squeeze": (1,), "Tile": (1,), "Unsqueeze": (1,), "Upsample": (1,),
}  # fmt: skip
#: The same for the last extent of index vectors.
DEPTHS = {"GatherND": (1,), "ScatterND": (1,)}


def _structural(case: Case) -> set[tuple[str, int]]:
    """(input, axis from behind) of extents that stay as they are: RANKS and DEPTHS, in an expanded operator too."""
    whole = cases().get(re.sub("_expanded.*", "", case.name), case)
    return {
        (node.input[i], -1)
        for node in [*case.model.graph.node, *whole.model.graph.node]
        for i in (*RANKS.get(node.op_type, ()), *DEPTHS.get(node.op_type, ()))
        if i < len(node.input)
    }


def dynamic(case: Case) -> Case | None:
    """The case with a symbol for every extent of every input (``x_0``, ``x_1``, ...) that may be open, and nothing said
    about other tensors; None where no input has such an extent."""
    model = ModelProto()
    model.CopyFrom(case.model)
    kept, changed = _structural(case), False
    for value in open_inputs(model):
        if value.type.WhichOneof("value") == "tensor_type":
            shape = value.type.tensor_type.shape.dim
            for axis, extent in enumerate(shape):
                if (value.name, axis - len(shape)) not in kept:
                    extent.dim_param, changed = f"{value.name}_{axis}", True
    del model.graph.value_info[:]
    for value in model.graph.output:
        for extent in value.type.tensor_type.shape.dim if value.type.WhichOneof("value") == "tensor_type" else ():
            extent.Clear()
    return replace(case, model=model) if changed else None


def variant(case: Case, kind: str) -> Case | None:
    """The case as one of VARIANTS wants it, None where it does not take part."""
    return {"baked": baked, "dynamic": dynamic}.get(kind, lambda same: same)(case)
