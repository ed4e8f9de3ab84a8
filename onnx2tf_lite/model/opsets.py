"""What moved between attributes and inputs as opsets went by: one table, read upwards and downwards.

Source: the schema history of ``onnx.defs``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import DTypeLike

from ..errors import ConversionError, Problem
from .edit import Dims, GraphEdit, arg, set_inputs, shape, title

#: The opset whose forms the handlers know.
TARGET = 23
#: A change of one node, in place; the number is the opset it is of (upwards) or the one asked for (downwards).
#: Raises ConversionError for what cannot be said in the other form.
Change = Callable[[GraphEdit, gs.Node, int], object]

_REDUCE = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
#: operator -> (opset since which these are inputs, {input slot: attribute before that, "" for none})
INPUTS: dict[str, tuple[int, dict[int, str]]] = {
    **{f"Reduce{r}": (13 if r == "Sum" else 18, {1: "axes"}) for r in _REDUCE},
    "Clip": (11, {1: "min", 2: "max"}),
    "DFT": (20, {2: "axis"}),
    "Dropout": (12, {1: "ratio", 2: ""}),
    "Pad": (11, {1: "pads", 2: "value"}),
    "Reshape": (5, {1: "shape"}),
    "Slice": (10, {1: "starts", 2: "ends", 3: "axes", 4: ""}),
    "Split": (13, {1: "split"}),
    "Squeeze": (13, {1: "axes"}),
    "TopK": (10, {1: "k"}),
    "Unsqueeze": (13, {1: "axes"}),
    "Upsample": (9, {1: "scales"}),
}


class Form(NamedTuple):
    """``dtype`` of the input (None: that of input 0) and its rank; ``single``: the attribute is one number."""

    dtype: DTypeLike | None = np.int64
    rank: int = 1
    single: bool = False


#: How these attributes are written as inputs; all others are lists of whole numbers in both forms.
FORMS = {
    **dict.fromkeys(("min", "max", "value"), Form(None, 0, single=True)),
    "axis": Form(rank=0, single=True),
    "k": Form(single=True),
    "ratio": Form(np.float32, 0, single=True),
    "scales": Form(np.float32),
}
#: What a missing attribute meant, where a missing input means something else.
MISSING = {("DFT", "axis"): 1, ("Pad", "value"): 0.0}
#: What an input says that had no attribute, where that changes nothing.
NEUTRAL = {("Dropout", 2): 0, ("Slice", 4): 1}


def refuse(node: gs.Node, what: str, remedy: str = "") -> NoReturn:
    """Raise the ConversionError of a node that has no other form."""
    raise ConversionError(Problem(f"{node.op} '{title(node)}'", what, remedy))


def rank_of(node: gs.Node, index: int = 0) -> int:
    """The rank of an input, which the node cannot be understood without."""
    return len(dims_of(node, index))


def dims_of(node: gs.Node, index: int = 0) -> Dims:
    """The shape of an input, whose rank the node cannot be understood without."""
    found = shape(node.inputs[index])
    if found is None:
        what = f"the old form needs the rank of '{node.inputs[index].name}', which is unknown"
        refuse(node, what, "give its shape")
    return found


def to_inputs(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Upwards: attributes become constant inputs."""
    for slot, name in INPUTS[node.op][1].items():
        held = node.attrs.pop(name, MISSING.get((node.op, name)))
        if held is None or arg(node, slot) is not None:
            continue
        form = FORMS.get(name, Form())
        array = np.asarray(held, form.dtype or node.inputs[0].dtype or np.float32).reshape((-1,) * form.rank)
        filled = [*node.inputs, *(gs.Variable.empty() for _ in range(slot + 1 - len(node.inputs)))]
        filled[slot] = e.const(array, f"{node.outputs[0].name}/{name}")
        set_inputs(node, filled)


def to_attributes(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Downwards: constant inputs become attributes."""
    slots = INPUTS[node.op][1]
    for slot, name in slots.items():
        held = arg(node, slot)
        if held is None:
            continue
        if not isinstance(held, gs.Constant):
            refuse(node, f"its input {slot} is an attribute there, and is only known at run time")
        array = np.asarray(held.values)
        if name:
            node.attrs[name] = array.reshape(-1)[0].item() if FORMS.get(name, Form()).single else array.tolist()
        elif np.any(array != NEUTRAL[node.op, slot]):
            refuse(node, f"input {slot} has no counterpart there")
    set_inputs(node, node.inputs[: min(slots)])
