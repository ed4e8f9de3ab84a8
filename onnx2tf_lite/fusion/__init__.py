"""Fusion: from "correct" to "what a hand-written TensorFlow model would have become".

``activations``  into the operation before          ``weights``  constants into weights and biases
``padding``      explicit pads as SAME               ``forms``    compositions with an operator
``cleanup``      no-ops, chains, pairs               ``views``    arithmetic before RESHAPE and TRANSPOSE
``attention``    factors, summands and guards        ``windows``  large depthwise windows (float .tflite only)
``slices``       of slices, and of single elements   ``channels`` shuffled or picked by the weights
``splits``       as SLICEs, and back                 ``qdq``      integer kernels (quantised .tflite only)
``unread``       is not computed                     ``shared``   large weights, of one change for all

The first line of a rule's docstring is what the notes of a conversion call it; the rest says what is equal.
"""

from __future__ import annotations

from ..ir.editor import rewrite
from ..ir.graph import Graph
from . import activations, attention, channels, cleanup, forms, padding, slices, splits, unread, views, weights
from .qdq import qdq

#: Rules that need algebra to see: benchmarks/latency.py measures what they save.
ALGEBRA = [
    *views.RULES,
    *attention.RULES,
    *slices.RULES,
    *unread.RULES,
    *channels.RULES,
    padding.cut_pads,
    padding.pad_behind_reshape,
    forms.floor_division,
]
RULES = [
    *cleanup.RULES,
    *forms.RULES,
    *slices.RULES,
    *views.RULES,
    *weights.RULES,
    *attention.RULES,
    *channels.RULES,
    *unread.RULES,  # behind those of channels, which make layers of slices
    *padding.RULES,
    *activations.RULES,
]


def fuse(graph: Graph, keep: frozenset[str] = frozenset()) -> list[str]:
    """Rewrite a laid-out program in place, for both emitters, except what was made of the ONNX nodes called ``keep``;
    notes on what was fused and on the near misses."""
    splits.apart(graph)
    return rewrite(graph, RULES, keep)


__all__ = ["ALGEBRA", "RULES", "fuse", "qdq", "rewrite"]
