"""Loops that turn for ever: a file that comes to no end says nothing of its layers, but they do, each by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ... import child
from ..bounds import TooLongError
from ..figures.judge import Difference
from ..files.written import FileError
from .alone import Alone, Bench
from .isolate import Layer

SOON = 2.0  # seconds, and a hundred runs of the whole model: longer than a layer of a right file computes
ENDLESS = Difference(math.inf, math.inf, what="cannot be run to its end, by itself either")


def endless(bench: Bench) -> Iterator[Alone]:
    """The layers with loops that do not end on what the model gives them.

    :raises NoReferenceError: the model does not run.
    :raises OverBudgetError: nothing more of the time, or of the memory, of the check is left.
    """
    bench.look()
    loops = {body.operator for body in bench.target.file.below() if not body.branch}
    layers = [x for n in bench.layers.counterpart.values() if (x := bench.layers.layer(n))]
    known = set[int]()  # to turn for ever: a loop may have several results
    for layer in layers:
        own = loops.intersection(layer.segment.operators)
        if own and known.isdisjoint(own):
            bench.hold([layer])
            known |= set() if _ends(bench, layer) else own
        if not known.isdisjoint(own):
            yield Alone(layer, ENDLESS, "", made=False)


def _ends(bench: Bench, layer: Layer) -> bool:
    """Does a layer come to an end, be it a bad one?"""
    try:
        bench.reference.bounds.call(lambda: bench.trial(0).as_seen([layer], bench.runtimes[-1:]), patience=SOON)
    except TooLongError:
        return False
    except child.DiedError as died:
        return not died.late
    except FileError:
        return True
    return True
