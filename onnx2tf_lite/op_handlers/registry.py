"""Which function lowers which ONNX operator.

A handler is a plain function whose signature is the operator's schema: inputs are positional (``None`` where an
optional one is absent), attributes are keyword-only with ONNX's defaults, the result is a value or a tuple of values.
It is written once, for the newest form of the operator (``passes.upgrade`` brings old models there), in ONNX axis
order, and knows nothing of layout, opsets or names.  Importing a family registers its handlers; a family is imported
when an operator is looked for that none before it has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from importlib import import_module
from typing import Any, Protocol, TypeVar

import numpy as np

from ..ir.dims import Dim
from ..ir.graph import Value
from ..record import record

Result = Value | Sequence[Value | None]
Handler = Callable[..., Value | Sequence[Any]]
H = TypeVar("H", bound=Handler)


class TensorAttribute(Protocol):
    """A tensor among the attributes of a node."""

    values: np.ndarray


class UnsupportedError(Exception):
    """Raised by a handler for a node that TFLite cannot express: what is wrong, and what the user can do."""

    def __init__(self, what: str, remedy: str = ""):
        super().__init__(what)
        self.what, self.remedy = what, remedy


@record
class Registration:
    """A handler with what its signature says."""

    handler: Handler
    tensors: bool = True  # of inputs; False: sequences and optionals as well

    @cached_property
    def signature(self) -> inspect.Signature:
        """Read when the first node asks: most handlers of a family are in no model."""
        return inspect.signature(self.handler)

    @cached_property
    def attributes(self) -> frozenset[str]:
        """The names of its attributes."""
        return frozenset(p.name for p in self.signature.parameters.values() if p.kind is p.KEYWORD_ONLY)

    @cached_property
    def anything(self) -> bool:
        """True where it takes attributes of any name."""
        return any(p.kind is p.VAR_KEYWORD for p in self.signature.parameters.values())

    def require(self, inputs: Sequence[object], attrs: Mapping[str, object]) -> None:
        """Raise TypeError where the handler cannot be called with these; said once for nodes that have as many inputs
        and the same attributes."""
        form = len(inputs), frozenset(attrs)
        if form not in self._taken:
            self.signature.bind(*inputs, **attrs)
            self._taken.add(form)

    @cached_property
    def _taken(self) -> set[tuple[int, frozenset[str]]]:
        return set()


#: The modules that have handlers, in the order of how many models need them; of other domains than ONNX's own the last.
FAMILIES = (
    "convolution",
    "arithmetic",
    "activations",
    "shapes",
    "pooling",
    "indexing",
    "slicing",
    "matmul",
    "reductions",
    "normalization",
    "quantization",
    "recurrent",
    "resize",
    "control",
    "attention",
    "geometry",
    "sequences",
    "detection",
    "spatial",
    "signal",
    "randomness",
    "text",
    "sampling",
    "linalg",
    "trees",
    "classical",
    "foreign",
    "microsoft",
)
HANDLERS: dict[tuple[str, str], Registration] = {}


def find(domain: str, name: str) -> Registration | None:
    """The handler of an ONNX operator; None where there is none."""
    for family in FAMILIES if not domain else reversed(FAMILIES):
        if (domain, name) in HANDLERS:
            break
        import_module(f".{family}", __package__)
    return HANDLERS.get((domain, name))


def every() -> dict[tuple[str, str], Registration]:
    """All handlers, by domain and name."""
    for family in FAMILIES:
        import_module(f".{family}", __package__)
    return HANDLERS


def op(*names: str, domain: str = "", tensors: bool = True) -> Callable[[H], H]:
    """Register a handler under ONNX operator names; without ``tensors`` it takes any ``_structures.Item``."""

    def register(handler: H) -> H:
        entry = Registration(handler, tensors)
        for name in names:
            if (domain, name) in HANDLERS:
                raise ValueError(f"{name} has two handlers")
            HANDLERS[domain, name] = entry
        return handler

    return register


def table(domain: str = "", /, **rows: Handler) -> None:
    """Register operators that are one expression each, by their names."""
    for name, handler in rows.items():
        op(name, domain=domain)(handler)


@record
class NodeInfo:
    """What a handler may ask about the node besides its schema: which outputs are wanted, their declared dtypes, and
    which of them other nodes read."""

    outputs: tuple[str, ...]
    dtypes: tuple[np.dtype | None, ...] = ()
    read: tuple[bool, ...] = ()

    def wants(self, index: int) -> bool:
        """True where output ``index`` is named, hence used."""
        return index < len(self.outputs) and bool(self.outputs[index])


_node: ContextVar[NodeInfo] = ContextVar("node")


def current_node() -> NodeInfo:
    """The node being lowered."""
    return _node.get()


@contextmanager
def lowering_node(info: NodeInfo) -> Iterator[None]:
    """``current_node()`` inside."""
    token = _node.set(info)
    try:
        yield
    finally:
        _node.reset(token)


def const(value: Value | None, what: str) -> np.ndarray | None:
    """The array of an operand that must be a constant here; None stays None, a run-time value is refused."""
    if value is None or value.data is not None:
        return None if value is None else value.data
    raise UnsupportedError(f"{what} is only known at run time", f"make {what} a constant or initializer of the model")


def fixed(dim: Dim, what: str) -> int:
    """An extent that says how many axes or parts there are, hence has to be a number; an open one is refused."""
    if isinstance(dim, int):
        return dim
    raise UnsupportedError(f"{what} is only known at run time, and a TFLite tensor has a fixed rank", "fix its shape")
