"""What the inputs of a check depend on of the files that it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...ir.graph import Placement, concrete
from ..feeds.inputs import InputSpec
from ..files.written import Described


def asked_by(target: Described, inputs: Sequence[InputSpec]) -> object:
    """All that it is of a file."""
    program = target.program
    sizes = {n: (p.shape, p.value.dtype.itemsize) for n, p in program.places.items()}
    spans = [target.span(program.names[s.name]) for s in inputs if s.name in program.names]
    return target.inside, set(program.names), sizes, spans


def spanned(spec: InputSpec, targets: Sequence[Described]) -> InputSpec:
    """The input with the range that a quantised file has for it."""
    spans = (t.span(t.program.names[spec.name]) for t in targets if spec.name in t.program.names)
    return replace(spec, span=next((s for s in spans if s), None))


def stored(place: Placement, symbols: Mapping[str, int]) -> int:
    """Bytes of a tensor, as the check has it."""
    extents = np.abs(concrete(place.shape, symbols))
    return max(place.value.dtype.itemsize, 4) * int(np.prod(extents, dtype=np.int64))
