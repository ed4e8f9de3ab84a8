"""Change the order of axes and channels of inputs and outputs: NCHW or NHWC, RGB or BGR, 0..255 or normalised.

-ioo declares the input with its axes permuted (new axis i = old axis perm[i]) and puts one Transpose behind it, for all
that read it; where only Transposes read it, they are composed, and vanish where nothing is left of them.  -cci reverses
the three channels at an axis, counted as the model has it now: in the weights of the convolution that reads the input,
and in the means and factors before it, where that is exact; else by a Gather.

examples:
  scc4onnx -if m.onnx -of o.onnx -ioo input [0,2,3,1] -cci input 1
  scc4onnx -if m.onnx -of o.onnx -oo y [0,2,3,1]                  an output in NHWC
  scc4onnx -if m.onnx -of o.onnx -cci input 1 --no-fold           leave the weights as they are
  scc4onnx -if m.onnx -of o.onnx --normalize input [0.485,0.456,0.406] [0.229,0.224,0.225]    x/255, - mean, / std
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..commands import command, flag, option, repeated
from ..errors import ToolError
from ..model import walk
from ..model.lazy import np, onnx
from ..model.names import fresh, names_in
from ..model.tensors import to_array
from ..model.types import dims, dtype_word
from ._edit import Edit, edit, port, set_shape
from ._options import COMMON, INPUT, OUTPUT, named
from ._values import integers, literal, numpy_dtype

Perm = Sequence[int]
Scale = tuple[Sequence[float], Sequence[float]]


@edit("* MODEL OUTPUT GRAPH QUIET")
def order_conversion(
    job: Edit,
    input_op_names_and_order_dims: Mapping[str, Perm] | None = None,
    channel_change_inputs: Mapping[str, int] | None = None,
    *,
    output_orders: Mapping[str, Perm] | None = None,
    normalize: Mapping[str, Scale] | None = None,
    channels: Perm = (2, 1, 0),
    fold: bool = True,
) -> onnx.ModelProto:
    """Change orders of axes and channels, and normalise inputs; returns the new model."""
    orders, swaps = dict(input_op_names_and_order_dims or {}), dict(channel_change_inputs or {})
    results, scales = dict(output_orders or {}), dict(normalize or {})
    if not (orders or swaps or results or scales):
        raise ToolError("nothing asked for: give -ioo, -cci, -oo or --normalize")
    for name in {**orders, **swaps, **scales}:
        _check(job, "graph input", name, orders.get(name))
    for name, perm in results.items():
        _check(job, "graph output", name, perm)
    unread = walk.dead(job.model.graph)
    for name, (mean, std) in scales.items():
        _normalise(job, name, mean, std)
    for name, axis in swaps.items():
        _channels(job, name, axis, list(channels), fold)
    for name, perm in orders.items():
        _order(job, name, list(perm))
    for name, perm in results.items():
        _output(job, name, list(perm))
    walk.sweep(job.model.graph, keep=unread)
    job.rewired()
    job.same_outputs(
        lambda feeds: {n: _fed(a, orders.get(n), swaps.get(n), scales.get(n), channels) for n, a in feeds.items()},
        lambda found: {n: a.transpose(results[n]) if n in results else a for n, a in found.items()},
    )
    return job.model


def _check(job: Edit, kind: str, name: str, perm: Perm | None) -> None:
    """Raise ToolError for what is no input or output of known rank, and for an order that is not one of its axes."""
    shape = dims(port(job.model.graph, kind, name, "-oo" if kind == "graph output" else "-ioo, -cci").type)
    if kind == "graph input" and name in walk.outputs(job.model.graph):
        raise ToolError(f"{name!r} is an output of the model, too: name what comes out differently", name)
    if shape is None:
        raise ToolError(f"the model declares no rank for {name!r}", name)
    if perm is not None and sorted(perm) != list(range(len(shape))):
        raise ToolError(f"{list(perm)} is not an order of the {len(shape)} axes of {name!r}", name)


def _permute(info: onnx.ValueInfoProto, perm: Perm) -> list[int | str | None]:
    """Declare the axes in another order; what the shape is then."""
    old = dims(info.type) or []
    set_shape(info, [old[p] for p in perm])
    return [old[p] for p in perm]


def _behind(job: Edit, name: str, *nodes: onnx.NodeProto) -> None:
    """Put nodes behind an input: all that read it read the last one's result."""
    graph = job.model.graph
    walk.replace_uses(graph, {name: nodes[-1].output[0]})
    for i, node in enumerate(nodes):
        graph.node.insert(i, node)


def _order(job: Edit, name: str, perm: list[int]) -> None:
    """Declare the input permuted, and undo that for its readers."""
    graph = job.model.graph
    shape = _permute(port(graph, "graph input", name, "-ioo"), perm)
    back = [int(i) for i in np.argsort(perm)]
    readers = walk.consumers(graph).get(name, [])
    if readers and all(r.op_type == "Transpose" and not r.domain for r in readers):
        for reader in readers:
            rest = [back[i] for i in _perm_of(reader, len(perm))]
            del reader.attribute[:]
            reader.attribute.append(onnx.helper.make_attribute("perm", rest))
            job.log.info(f"{name}: composed with Transpose '{reader.name}': {rest}")
            if rest == sorted(rest) and reader.output[0] not in walk.outputs(graph):
                walk.replace_uses(graph, {reader.output[0]: name})
                graph.node.remove(reader)
        return
    taken = names_in(job.model)
    label = fresh(f"input_order_convert_transpose_{walk.inputs(graph).index(name)}", taken)
    made = fresh(f"transpose_out_{name}", taken)
    _behind(job, name, onnx.helper.make_node("Transpose", [name], [made], label, perm=back))
    job.log.info(f"{name}: {shape}, then Transpose {back}")


def _perm_of(node: onnx.NodeProto, rank: int) -> list[int]:
    found = [list(a.ints) for a in node.attribute if a.name == "perm"]
    return found[0] if found else list(range(rank))[::-1]


def _output(job: Edit, name: str, perm: list[int]) -> None:
    """The output keeps its name; what made it gets another."""
    graph = job.model.graph
    made = walk.producers(graph).get(name)
    if made is None:
        raise ToolError(f"-oo: no node makes {name!r}", name)
    inner = fresh(f"{name}_in_order", names_in(job.model))
    readers = list(graph.node)
    made.output[:] = [inner if o == name else o for o in made.output]
    walk.replace_uses(graph, {name: inner}, readers)
    _permute(port(graph, "graph output", name, "-oo"), perm)
    title = fresh(f"output_order_convert_transpose_{walk.outputs(graph).index(name)}", names_in(job.model))
    graph.node.append(onnx.helper.make_node("Transpose", [inner], [name], title, perm=perm))
    job.log.info(f"{name}: Transpose {perm} before it")


def _channels(job: Edit, name: str, axis: int, order: list[int], fold: bool) -> None:
    graph = job.model.graph
    shape = dims(port(graph, "graph input", name, "-cci").type) or []
    if not 0 <= axis < len(shape) or shape[axis] != len(order):
        raise ToolError(f"-cci: axis {axis} of {name!r} {shape} does not have {len(order)} channels", name)
    plan = _plan(job.model, name, len(shape), len(order)) if fold and axis == 1 else None
    if plan is not None:
        for node, slot, at in plan:
            _reorder(job, node, slot, at, order)
        where = ", ".join(f"{node.op_type} '{walk.title(node)}'" for node, _, _ in plan)
        job.log.info(f"{name}: channels {order} in the constants of {where}")
        return
    taken = names_in(job.model)
    index = onnx.numpy_helper.from_array(np.array(order, np.int64), fresh(f"{name}_channel_order", taken))
    walk.add_constant(job.model, graph, index)
    made = fresh(f"channels_out_{name}", taken)
    label = fresh(f"channel_change_gather_{walk.inputs(graph).index(name)}", taken)
    _behind(job, name, onnx.helper.make_node("Gather", [name, index.name], [made], label, axis=axis))
    job.log.info(f"{name}: channels {order} by a Gather on axis {axis}")


def _plan(model: onnx.ModelProto, name: str, rank: int, channels: int) -> list[tuple[onnx.NodeProto, int, int]] | None:
    """The constants, (node, input slot, axis), whose reordering does what reordering the channels (axis 1) of a tensor
    does; None where that is not exact, or not enough."""
    graph = model.graph
    found: list[tuple[onnx.NodeProto, int, int]] = []
    readers = walk.consumers(graph).get(name, [])
    if not readers or name in walk.outputs(graph):
        return None
    held = _lasting(model)
    for node in readers:
        slots = [i for i, n in enumerate(node.input) if n in held]
        if node.domain or walk.reads(node).count(name) != 1 or not slots:
            return None
        shape = list(held[node.input[slots[0]]].dims)
        at = len(shape) - (rank - 1)  # where the channels are in an operand that broadcasts
        if _sums_channels(node, slots[0]):
            found.append((node, 1, 1))
        elif node.op_type in ("Add", "Sub", "Mul", "Div") and len(shape) <= rank:
            along = shape == [channels if i == at else 1 for i in range(len(shape))]
            behind = _plan(model, node.output[0], rank, channels) if along or math.prod(shape) == 1 else None
            if behind is None:
                return None
            found += [(node, slots[0], at)] * (math.prod(shape) > 1) + behind
        else:
            return None
    return found


def _lasting(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The constants that are not inputs, which may be others at run time."""
    free = {v.name for v in model.graph.input} if model.ir_version >= 4 else set()
    return {n: t for n, t in walk.constants(model.graph).items() if n not in free}


def _sums_channels(node: onnx.NodeProto, slot: int) -> bool:
    """A convolution of all channels, whose weights (axis 1) can be reordered instead."""
    grouped = any(a.name == "group" and a.i > 1 for a in node.attribute)
    return node.op_type == "Conv" and slot == 1 and not grouped


def _reorder(job: Edit, node: onnx.NodeProto, slot: int, axis: int, order: list[int]) -> None:
    graph = job.model.graph
    own = walk.constants(graph)[node.input[slot]]
    made = onnx.numpy_helper.from_array(np.take(to_array(own), np.argsort(order), axis), own.name)
    uses = [
        i for s in walk.scopes(job.model) for i in (*(i for n in s.graph.node for i in n.input), *walk.outputs(s.graph))
    ]
    if uses.count(node.input[slot]) == 1:
        own.CopyFrom(made)
        return
    made.name = fresh(f"{node.input[slot]}_channels", names_in(job.model))
    walk.add_constant(job.model, graph, made)
    node.input[slot] = made.name


def _normalise(job: Edit, name: str, mean: Sequence[float], std: Sequence[float]) -> None:
    """Part Z001 of the yard: x / 255, minus the means, divided by the deviations, at the channel axis 1."""
    from .parts.yard import normalization

    graph, taken = job.model.graph, names_in(job.model)
    info = port(graph, "graph input", name, "--normalize")
    shape, elem = dims(info.type) or [], info.type.tensor_type.elem_type
    if elem not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16):
        raise ToolError(f"--normalize: {name!r} is {dtype_word(elem)}; only a float can be normalised", name)
    if len(shape) < 2 or shape[1] != len(mean) or len(mean) != len(std):
        raise ToolError(f"--normalize: axis 1 of {name!r} {shape} does not have {len(mean)} channels", name)
    part = normalization(name="normalize", mean=mean, std=std).graph
    own = {n: fresh(f"{name}_{n}", taken) for n in walk.defined(part) if n != part.input[0].name}
    own[part.input[0].name] = name
    kind, axes = numpy_dtype(elem), [1, -1, *[1] * (len(shape) - 2)]
    for word, values in {"scale": [255.0], "mean": mean, "std": std}.items():  # the part's are float32, of rank 4
        array = np.array(values, kind).reshape(axes)
        walk.add_constant(job.model, graph, onnx.numpy_helper.from_array(array, own[word]))
    for node in part.node:
        node.input[:], node.output[:] = ([own[n] for n in names] for names in (node.input, node.output))
        node.name = fresh(node.name, taken)
    _behind(job, name, *part.node)
    job.log.info(f"{name}: now takes 0..255, normalised by mean {list(mean)} and std {list(std)}")


def _fed(array: np.ndarray, perm: Perm | None, axis: int | None, scale: Scale | None, channels: Perm) -> np.ndarray:
    """What the new model is fed so that the old inner input is ``array``."""
    if scale is not None:
        mean, std = (np.array(v, np.float64).reshape([1, len(v), *[1] * (array.ndim - 2)]) for v in scale)
        array = ((array.astype(np.float64) * std + mean) * 255).astype(array.dtype)
    if axis is not None:
        array = np.take(array, np.argsort(channels), axis)
    return array.transpose(perm) if perm is not None else array


def _scale(mean: str, std: str) -> Scale:
    return literal(mean), literal(std)


_FORM = "{name: ([0.485, ...], [0.229, ...])}: mean and deviation of each channel"
_PERMS = {"convert": named(integers), "form": "{name: [0, 2, 3, 1]}"}
main = command(
    order_conversion,
    INPUT,
    OUTPUT,
    repeated("-ioo --input_op_names_and_order_dims INPUT PERM", "an input and the order of its axes", **_PERMS),
    repeated(
        "-cci --channel_change_inputs INPUT AXIS",
        "an input and its channel axis now",
        convert=named(int),
        form="{name: 1}",
    ),
    repeated("-oo --output_orders OUTPUT PERM", "an output and the order of its axes", **_PERMS),
    repeated("--normalize INPUT MEAN STD", "an input that shall take 0..255", convert=named(_scale), form=_FORM),
    option("--channels ORDER", "another order of channels than reversed, such as [2,1,0,3]", convert=integers),
    flag("--no-fold", "do not change weights", action="store_false", dest="fold"),
    *COMMON,
)
