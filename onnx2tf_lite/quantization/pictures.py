"""Made pictures as samples, where a caller asks for calibration and gives nothing to calibrate on.

onnx2tf 1.x takes 20 photographs then, which it downloads, if every input is an image.  Smooth pictures have the range
of photographs, and more of their statistics than noise has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import ArrayLike

from ..errors import ConversionError
from ..validation.feeds import draw, images
from ..validation.feeds.inputs import NORMALISED, InputSpec, describe
from ..validation.feeds.inputs import SIDE as LEAST

COUNT = 20  # as many as onnx2tf has
SIDE = 224  # of a height or width that is free
Pixels = Mapping[str, tuple[float, float]]


def told(model: gs.Graph) -> Pixels:
    """The ranges of inputs, by their names, of which the model says something."""
    return {spec.name: spec.pixels for spec in describe(model) if spec.pixels != NORMALISED}


def sizes(specs: Sequence[InputSpec]) -> dict[str, tuple[list[int], bool]] | None:
    """The extents of every input, and whether its channels are last; None where one is no picture."""
    found = {}
    for spec in specs:
        try:
            shape, last = images.layout(spec)
        except ConversionError:
            return None
        if spec.dtype.kind not in "fu":
            return None
        size = [d if d > 0 else SIDE if axis else 1 for axis, d in enumerate(shape)]
        if min(size[1:3] if last else size[2:]) < LEAST:
            return None
        found[spec.name] = size, last
    return found


def samples(
    specs: Sequence[InputSpec], ranges: Pixels, mean: ArrayLike, std: ArrayLike
) -> Iterator[dict[str, np.ndarray]]:
    """Pictures for every input in ONNX order: between the ends of ``ranges`` where the model says them, else from 0 to
    1 and then ``(x - mean) / std``."""
    rng, found = np.random.default_rng(0), sizes(specs)
    assert found is not None
    for _ in range(COUNT):
        sample = {}
        for spec in specs:
            size, last = found[spec.name]
            drawn = draw.pictures(rng, size, last, ranges.get(spec.name, (0.0, 1.0)))
            if spec.name not in ranges:
                shift, scale = (_channels(side, size, last, alpha) for side, alpha in ((mean, 0.0), (std, 1.0)))
                drawn = (drawn - shift) / scale
            sample[spec.name] = drawn.astype(spec.dtype)
        yield sample


def _channels(side: ArrayLike, size: Sequence[int], last: bool, alpha: float) -> np.ndarray:
    """A number for each channel, along their axis: that of a grey picture is the mean, the fourth one ``alpha``."""
    values, count = np.ravel(side).astype(np.float64), size[-1 if last else 1]
    if values.size != count:
        values = np.full(count, values.mean()) if 1 in (count, values.size) else np.resize([*values[:3], alpha], count)
    return values if last else values[:, None, None]
