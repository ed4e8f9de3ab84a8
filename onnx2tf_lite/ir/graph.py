"""The typed SSA program: values, operations and graphs.

One vocabulary: the operations are TFLite's builtin operators (``ir.kinds``), the order of axes is whatever the producer
of a value wrote, and only ``TRANSPOSE`` and ``RESHAPE`` change it.  ``layout/`` decides where those really move data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from ..record import record
from .dims import Dim, Expr, Shape, evaluate, is_static, product, show, symbol

if TYPE_CHECKING:
    from .kind import Kind

SHORT = {"bool": "bool", "complex64": "c64", **{f"float{n}": f"f{n}" for n in (16, 32, 64)}}
SHORT |= {f"{p}int{n}": f"{p[:1] or 'i'}{n}" for p in ("", "u") for n in (8, 16, 32, 64)}


@cache
def short(dtype: np.dtype) -> str:
    """``f32``, ``i64``, ``u8``, ``bool``, ...: the name of a dtype in tables and messages."""
    return SHORT.get(dtype.name, dtype.name)


Attrs = dict[str, Any]  # of an operation
SMALL = 256  # elements of a tensor whose contents are tracked symbolically


@record
class Quant:
    """Affine quantisation ``real = (stored - zero_point) * scale``, per tensor (``axis`` None) or along ``axis``.

    ``scale`` and ``zero_point`` are 1-D numpy arrays of equal length; ``dtype`` is that of the stored integers,
    of which files keep the lower ``bits`` (None: all), two of 4 bits to a byte.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    dtype: np.dtype
    axis: int | None = None
    bits: int | None = None

    def along(self, axis: int | None) -> Quant:
        """The same parameters on another axis."""
        return self if self.axis is None else replace(self, axis=axis)

    def real(self, stored: np.ndarray) -> np.ndarray:
        """The float32 numbers that ``stored``, integers of any shape with :attr:`axis`, stand for."""
        scale, zero = self._parameters(stored.ndim)
        return np.asarray((stored.astype(np.int64) - zero) * scale.astype(np.float32), np.float32)

    def stored(self, real: np.ndarray) -> np.ndarray:
        """The integers of ``real`` numbers: round half to even, then saturate (ONNX QuantizeLinear)."""
        scale, zero = self._parameters(real.ndim)
        low, high = self.ends
        rounded = np.round(real / scale.astype(real.dtype)) + zero
        return np.asarray(np.clip(rounded, low, high), self.dtype)

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the largest of the stored integers."""
        info = np.iinfo(self.dtype)
        unused = 0 if self.bits is None else 8 * self.dtype.itemsize - self.bits
        return int(info.min) >> unused, int(info.max) >> unused

    def as_signed(self) -> Quant | None:
        """The int8 parameters of the same real numbers, of which uint8 has 128 more; of 16 bits those with zero point
        0, of which uint16 has 32768 more.  None for per-axis ones and other integers."""
        if self.axis is not None or self.scale.size != 1 or self.dtype.kind not in "iu" or self.dtype.itemsize > 2:
            return None
        middle = 1 << (8 * self.dtype.itemsize - 1) if self.dtype.kind == "u" else 0
        zero = self.zero_point.astype(np.int64) - middle
        if self.dtype.itemsize == 2 and zero.any():
            return None
        return replace(self, zero_point=zero, dtype=np.dtype(f"i{self.dtype.itemsize}")) if middle else self

    def _parameters(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point in a form that broadcasts with a tensor of ``rank``."""
        shape = () if self.axis is None else tuple(-1 if i == self.axis else 1 for i in range(rank))
        return self.scale.reshape(shape), self.zero_point.reshape(shape)

    def same(self, other: Quant) -> bool:
        """True for the same parameters of the same integers."""
        alike = (self.dtype, self.axis, self.bits) == (other.dtype, other.axis, other.bits)
        pairs = (self.scale, other.scale), (self.zero_point, other.zero_point)
        return alike and all(np.array_equal(a, b) for a, b in pairs)


@dataclass(frozen=True, eq=False)
class BatchNormParameters:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, each of them [C]."""

    scale: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float


@record
class Origin:
    """The ONNX node that an operation was made for; the checker, the report and every error message use it.

    ``batchnorm``: of a BatchNormalization its parameters, which the factor and the summand that it became do not tell.
    """

    node: str
    op_type: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    batchnorm: BatchNormParameters | None = None

    def __str__(self) -> str:
        return f"{self.op_type} {self.node!r}"


#: What the builder gives Python's operators to call: it lies above this module.
ARITHMETIC: dict[str, Callable[..., Value]] = {}


def _operator(name: str, swapped: bool = False) -> Callable[[Value, object], Value]:
    return lambda x, y: ARITHMETIC[name](y, x) if swapped else ARITHMETIC[name](x, y)


@dataclass(eq=False)
class Value:
    """A tensor: ``shape`` of ints and symbolic dims, numpy ``dtype``; a constant has ``data``, others a ``producer``.

    ``content`` holds the elements of a small integer tensor whose values are known up to symbols (an object array of
    dims): the result of ``Shape`` and of arithmetic on it.  ``quant`` says that ``data`` or the stored integers stand
    for real numbers.
    """

    name: str
    shape: Shape
    dtype: np.dtype
    data: np.ndarray | None = None
    producer: Op | None = None
    content: np.ndarray | None = None
    quant: Quant | None = None
    bounds: tuple[int, int] | None = None

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return product(self.shape)

    @property
    def is_constant(self) -> bool:
        """True where the elements are known before the program runs."""
        return self.data is not None

    # Arithmetic appends operations to the graph being built; plain numbers take the dtype of the tensor.
    __add__, __radd__ = _operator("add"), _operator("add", swapped=True)
    __sub__, __rsub__ = _operator("sub"), _operator("sub", swapped=True)
    __mul__, __rmul__ = _operator("mul"), _operator("mul", swapped=True)
    __truediv__, __rtruediv__ = _operator("div"), _operator("div", swapped=True)

    def __neg__(self) -> Value:
        return ARITHMETIC["neg"](self)

    def made_by(self, kind: str) -> Op | None:
        """The operation that computes this value, where it is of this kind."""
        return self.producer if self.producer is not None and self.producer.is_a(kind) else None

    def nbytes(self, hint: int = 1) -> int:
        """Bytes with every symbolic extent counted as ``hint``."""
        count = product([hint if isinstance(d, Expr) else d for d in self.shape])
        return int(count) * self.dtype.itemsize  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.name}: {short(self.dtype)}[{show(self.shape)}]"

    __repr__ = __str__


@dataclass(eq=False)
class Op:
    """One operation.  ``inputs`` may hold None for an absent optional one; ``attrs`` follow the kind's definition."""

    kind: Kind
    inputs: list[Value | None]
    outputs: list[Value]
    attrs: Attrs
    origin: Origin | None = None

    def is_a(self, kind: str) -> bool:
        """True for an operation of this kind: for patterns; what an operator does is asked of its traits."""
        return self.kind.name == kind

    def uses(self) -> list[Value]:
        """Every value read, also those that an attribute holds because a shape is only known at run time."""
        return [v for v in self.inputs if v is not None] + [v for v in self.attrs.values() if isinstance(v, Value)]

    def replace_uses(self, mapping: dict[Value, Value]) -> None:
        """Read ``mapping[v]`` instead of ``v``."""
        self.inputs = [mapping.get(v, v) if v is not None else None for v in self.inputs]
        for name, v in self.attrs.items():
            if isinstance(v, Value):
                self.attrs[name] = mapping.get(v, v)

    def __str__(self) -> str:
        out = ", ".join(map(str, self.outputs))
        return f"{out} = {self.kind.name}({', '.join(v.name if v else '-' for v in self.inputs)})"

    __repr__ = __str__


@record
class Placement:
    """Where an ONNX tensor lies in the laid-out program: reshape ``value`` to ``split``, transpose by ``perm``, reshape
    to ``shape`` (ONNX order).  ``split`` and ``shape`` may be symbolic.  ``real``: the ONNX tensor is the real numbers
    that the stored integers of ``value`` stand for (a float tensor of a QDQ model that became an int8 kernel's);
    ``unsigned``: it is uint8 or uint16, and ``value`` has each of its numbers less the middle one as int8 or int16;
    ``factor``: it is that, for each channel (the last axis of ``value``), times what ``value`` is.
    """

    value: Value
    split: Shape
    perm: tuple[int, ...]
    shape: Shape
    real: bool = False
    unsigned: bool = False
    factor: tuple[float, ...] | None = None

    def restore(self, array: np.ndarray, symbols: Mapping[str, int]) -> np.ndarray:
        """The ONNX tensor from the stored one."""
        if self.real and self.value.quant is not None:
            array = self.value.quant.real(array)
        if self.unsigned:
            array = other_sign(array)
        array = self.enlarged(array)
        known = dict(zip(self.value.shape, array.shape, strict=True))  # also those that depend on data
        split = array.reshape(concrete(self.split, symbols, known))
        return split.transpose(self.perm).reshape(concrete(self.shape, symbols, known))

    def store(self, array: np.ndarray, symbols: Mapping[str, int]) -> np.ndarray:
        """The stored tensor from the ONNX one; inverse of :meth:`restore`."""
        array = other_sign(array) if self.unsigned else array
        ordered = concrete(tuple(self.split[p] for p in self.perm), symbols)
        back = np.argsort(self.perm) if self.perm else ()
        stored = array.reshape(ordered).transpose(back).reshape(concrete(self.value.shape, symbols))
        return np.asarray(self.reduced(stored), order="C")  # ascontiguousarray would make a vector of a scalar

    def enlarged(self, stored: np.ndarray) -> np.ndarray:
        """The numbers of the ONNX tensor, in the order of the stored one."""
        return stored if self.factor is None else stored * np.asarray(self.factor, stored.dtype)

    def reduced(self, ordered: np.ndarray) -> np.ndarray:
        """The stored tensor from the numbers of the ONNX one in its order; inverse of :meth:`enlarged`."""
        return ordered if self.factor is None else ordered / np.asarray(self.factor, ordered.dtype)


def other_sign(array: np.ndarray) -> np.ndarray:
    """int8 of uint8, each number less 128, and the other way round, so of 16 bits: it is the highest bit that
    changes."""
    size = array.dtype.itemsize
    bits = array.view(f"u{size}")
    flipped: np.ndarray = bits ^ bits.dtype.type(1 << (8 * size - 1))
    return flipped.view(f"i{size}") if array.dtype.kind == "u" else flipped


def concrete(shape: Shape, symbols: Mapping[str, int], known: Mapping[Dim, int] = MappingProxyType({})) -> list[int]:
    """Extents as numbers, by their symbols or as wholes in ``known``; one that depends on other data is -1."""
    result = []
    for dim in shape:
        try:
            result.append(known[dim] if dim in known else evaluate(dim, symbols))
        except KeyError:
            result.append(-1)
    return result


@dataclass(eq=False)
class Graph:
    """A (sub)program.  ``ops`` are in topological order; ``inputs`` and ``outputs`` are in ONNX order.

    ``tensors`` maps ONNX tensor names to the value that is their counterpart, in ONNX axis order, before layout;
    ``placements`` does so afterwards, graph inputs and outputs included.
    ``body_of``: of a body the ONNX node, by its first result, and the attribute: ``y/then_branch``.
    ``definitions`` says where a symbol can be read at run time when no shape mentions it: element ``index`` of a 1-D
    integer value.
    """

    name: str = "main"
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    output_names: list[str] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    tensors: dict[str, Value] = field(default_factory=dict)
    placements: dict[str, Placement] = field(default_factory=dict)
    definitions: dict[str, tuple[Value, int]] = field(default_factory=dict)
    body_of: str = ""
    counter: int = 0

    def fresh_name(self, stem: str) -> str:
        """A name that no other value of the graph has."""
        self.counter += 1
        return f"{stem}#{self.counter}"

    def fresh_symbol(self, stem: str) -> Expr:
        """A new symbol; its name cannot collide with a dim_param because of the ``#``."""
        return symbol(self.fresh_name(stem))

    def add_input(self, name: str, shape: Shape, dtype: np.dtype) -> Value:
        """A new input, the last one."""
        value = Value(name, shape, np.dtype(dtype))
        self.inputs.append(value)
        return value

    def consumers(self) -> dict[Value, list[Op]]:
        """Readers of every value, in program order."""
        readers: dict[Value, list[Op]] = {}
        for op in self.ops:
            for value in dict.fromkeys(op.uses()):
                readers.setdefault(value, []).append(op)
        return readers

    def subgraphs(self) -> Iterator[Graph]:
        """All bodies below this graph, outermost first."""
        for op in self.ops:
            for attr in op.attrs.values():
                if isinstance(attr, Graph):
                    yield attr
                    yield from attr.subgraphs()

    def sweep(self) -> int:
        """Drop operations whose results nobody reads; the number dropped."""
        live = set(self.outputs) | {value for value, _ in self.definitions.values()}
        kept: list[Op] = []
        for op in reversed(self.ops):
            if any(v in live for v in op.outputs):
                kept.append(op)
                live.update(op.uses())
        dropped = len(self.ops) - len(kept)
        self.ops = kept[::-1]
        return dropped


def copy_graph(graph: Graph) -> Graph:
    """A copy whose operations and values can be edited; constants are shared."""
    values: dict[Value, Value] = {}

    def copied(value: Value) -> Value:
        if value.is_constant:
            return value
        if value not in values:
            values[value] = replace(value, producer=None)
        return values[value]

    def attribute(x: object) -> object:
        return copied(x) if isinstance(x, Value) else copy_graph(x) if isinstance(x, Graph) else x

    ops = []
    for op in graph.ops:
        inputs = [None if v is None else copied(v) for v in op.inputs]
        attrs = {name: attribute(x) for name, x in op.attrs.items()}
        ops.append(Op(op.kind, inputs, [copied(v) for v in op.outputs], attrs, op.origin))
        for value in ops[-1].outputs:
            value.producer = ops[-1]
    return replace(
        graph,
        inputs=[copied(v) for v in graph.inputs],
        outputs=[copied(v) for v in graph.outputs],
        output_names=list(graph.output_names),
        ops=ops,
        tensors={n: copied(v) for n, v in graph.tensors.items()},
        placements={n: replace(p, value=copied(p.value)) for n, p in graph.placements.items()},
        definitions={n: (copied(v), i) for n, (v, i) in graph.definitions.items()},
    )


_place: ContextVar[building] = ContextVar("place")


def current_graph() -> Graph:
    """The graph that the builder functions append to."""
    return _place.get().graph


def current_origin() -> Origin | None:
    """The ONNX node that operations are being built for."""
    return place.origin if (place := _place.get(None)) else None


def written_out() -> int:
    """How many operations were asked for before, for the node that is being written out; asking counts."""
    return next(place.asked) if (place := _place.get(None)) and place.asked else 0


class building:  # a generator would take three times as long, for every operation
    """Operations built inside are appended to ``graph`` and carry ``origin`` (or the enclosing one)."""

    def __init__(self, graph: Graph, origin: Origin | None = None):
        self.graph, outer = graph, _place.get(None)
        self._outer = (None, None) if outer is None else (outer.origin, outer.asked)
        self.move(origin)

    def move(self, origin: Origin | None) -> None:
        """From here on the operations carry ``origin`` (or the enclosing one)."""
        self.origin: Origin | None
        self.asked: Iterator[int] | None
        self.origin, self.asked = (origin, count()) if origin else self._outer

    def __enter__(self) -> Graph:
        self._outside = _place.set(self)
        return self.graph

    def __exit__(self, *error: object) -> None:
        _place.reset(self._outside)


def constant(data: object, dtype: DTypeLike | None = None, name: str = "const", quant: Quant | None = None) -> Value:
    """A constant value; numpy scalars and nested lists are accepted.  Nothing is copied."""
    array = np.asarray(data, dtype)
    return Value(name, array.shape, array.dtype, data=array, quant=quant)


def content_of(value: Value) -> np.ndarray | None:
    """Elements of a small tensor of whole numbers as an object array of dims, or None where they are not known."""
    data = value.data
    if value.content is None and data is not None and data.size <= SMALL:
        if data.dtype.kind in "iub":
            value.content = data.astype(object)
        elif data.dtype.kind == "f" and np.all(data == np.trunc(data)) and np.all(np.abs(data) < 2**31):
            value.content = data.astype(np.int64).astype(object)
    return value.content


def static_shape(value: Value) -> tuple[int, ...]:
    """The shape as integers; ValueError where it is symbolic."""
    if not is_static(value.shape):
        raise ValueError(f"{value} has a dynamic shape")
    return tuple(int(d) for d in value.shape)  # type: ignore[arg-type]
