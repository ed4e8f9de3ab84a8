"""Fusion: from "correct" to "what a hand-written TensorFlow model would have become".

``pattern``      the pattern language and the editor     ``activations``  into the operation before
``padding``      explicit pads as SAME                   ``weights``      constants into weights and biases
``forms``        compositions with an operator           ``cleanup``      no-ops, chains, pairs
``qdq``          integer kernels for quantised models (the .tflite branch)
"""

from __future__ import annotations

from ..ir.graph import Graph
from . import activations, cleanup, forms, padding, weights
from .pattern import rewrite
from .qdq import qdq

RULES = [*cleanup.RULES, *forms.RULES, *weights.RULES, *padding.RULES, *activations.RULES]


def fuse(graph: Graph, keep: frozenset[str] = frozenset()) -> list[str]:
    """Rewrite a laid-out program in place, for both emitters, except what was made of the ONNX nodes called ``keep``;
    notes on what was fused and on the near misses."""
    return rewrite(graph, RULES, keep)


__all__ = ["RULES", "fuse", "qdq", "rewrite"]
