"""onnxsim, which is C++ in our own process and runs whatever is constant, however large it becomes: in a child, with
limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import child
from .inference import made_in_child
from .walk import scopes

if TYPE_CHECKING:
    from onnx import ModelProto

#: Of a processor, and more for every node and byte; memory, and more for the copies of a model.
SECONDS, PER_NODE, PER_BYTE = 10.0, 1e-2, 1e-7
MEMORY, COPIES = 1 << 29, 6


def simplified(model: ModelProto, **settings: object) -> ModelProto:
    """onnxsim's form of a model, which stays as it is; ``settings`` are those of ``onnxsim.simplify``.

    :raises Exception: :class:`..child.DiedError`, MemoryError, and whatever onnxsim raises.
    """
    import onnxsim

    return made_in_child(lambda: onnxsim.simplify(model, **settings)[0], limits(model))


def limits(model: ModelProto) -> child.Limits:
    """What onnxsim may take."""
    nodes, size = sum(len(scope.graph.node) for scope in scopes(model)), model.ByteSize()
    seconds, memory = SECONDS + PER_NODE * nodes + PER_BYTE * size, MEMORY + COPIES * size
    return child.Limits(child.BUSY * seconds, memory, seconds, counted=True)
