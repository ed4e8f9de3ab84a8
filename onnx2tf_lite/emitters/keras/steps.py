"""What an operation becomes: a small tree of steps, each one layer of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...ir.graph import Op, Value


@dataclass(frozen=True, eq=False)
class KerasLayer:
    """A layer of Keras: the class ``name`` of ``tf_keras.layers`` made with ``config``, applied to ``inputs`` (several:
    as a list), its variables set to ``weights`` in the order in which it makes them."""

    name: str
    inputs: Sequence[Node]
    config: Mapping[str, object] = field(default_factory=dict)
    weights: Sequence[np.ndarray] = ()


@dataclass(frozen=True, eq=False)
class FunctionCall:
    """A function of TensorFlow's public interface (``math.rsqrt``), which the functional API makes a layer of that any
    program can load; tensors may lie anywhere in ``args`` and ``kwargs``."""

    name: str
    args: Sequence[object]
    kwargs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Recurrent:
    """A recurrent layer over x [steps, batch, features]: it gives all hidden states and the last states.

    ``batch_major``: x is [batch, steps, features], and so are the hidden states; ``states``: the first ones, none for
    zeros; ``backwards``: from the last step to the first; ``results``: which result of the operation each of the layer
    is, None for one that the operation does not have.
    """

    name: str
    x: Node
    batch_major: bool
    states: Sequence[Value]
    config: Mapping[str, object]
    weights: Sequence[np.ndarray]
    backwards: bool
    results: Sequence[int | None]


@dataclass(frozen=True, eq=False)
class BatchMajor:
    """Hidden states of a recurrent layer as it gives them, where the program has ``value`` [steps, batch, features]."""

    value: Value


@dataclass(frozen=True, eq=False)
class Other:
    """An operation that only TensorFlow's raw operators can express: a layer that this package registers."""

    op: Op


@dataclass(frozen=True, eq=False)
class Several:
    """A step for each result."""

    steps: Sequence[Node]


Step = KerasLayer | FunctionCall | Recurrent | BatchMajor | Other | Several
Node = Value | Step
Form = Callable[[Op], "Step | None"]  # None: this operation is not what the layer computes


def operand(op: Op, index: int = 0) -> Value:
    """An operand that has to be there."""
    value = op.inputs[index]
    assert value is not None
    return value


def tensors(x: object) -> Iterator[Value]:
    """The values below a step that only run time knows."""
    if isinstance(x, Value):
        if x.data is None:
            yield x
    elif isinstance(x, KerasLayer):
        yield from tensors(x.inputs)
    elif isinstance(x, FunctionCall):
        yield from tensors([x.args, x.kwargs])
    elif isinstance(x, Recurrent):
        yield from tensors([x.x, *x.states])
    elif isinstance(x, Other):
        yield from tensors(x.op.uses())
    elif isinstance(x, Several):
        yield from tensors(x.steps)
    elif isinstance(x, BatchMajor):
        yield x.value
    elif isinstance(x, Mapping):
        yield from tensors(list(x.values()))
    elif isinstance(x, list | tuple):
        for part in x:
            yield from tensors(part)
