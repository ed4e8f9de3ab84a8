"""onnxsim, which is C++ in our own process and runs whatever is constant, however large it becomes: in a child, with
limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import child
from .inference import made_in_child

if TYPE_CHECKING:
    from onnx import ModelProto

LIMITS = child.Limits(seconds=120, memory=2 << 30)


def simplified(model: ModelProto, **settings: object) -> ModelProto:
    """onnxsim's form of a model, which stays as it is; ``settings`` are those of ``onnxsim.simplify``.

    :raises Exception: :class:`..child.Died`, MemoryError, and whatever onnxsim raises.
    """
    import onnxsim

    return made_in_child(lambda: onnxsim.simplify(model, **settings)[0], LIMITS)
