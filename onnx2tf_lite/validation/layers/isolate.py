"""Layers of a file: the operators between a tensor of the model and those before it that are in the file, alone.

All layers that are asked for together make one model of independent parts, which is run once for each set of operands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from ...ir.graph import Placement
from ...record import record
from ..feeds import inputs
from ..figures.measure import Array
from ..files.parted import Segment
from ..files.written import FileError, LayeredFile, Loaded, as_told

Symbols = Mapping[str, int]
Extract = Callable[[Sequence[Segment], Sequence[Sequence[int]]], object]  # see Parted.extract
SHAPE_READERS = {"SHAPE", "RANK"}


@record
class Layer:
    """An ONNX tensor that the file has, the operators that make it, and the ONNX names of the tensors they read.

    ``values``: those of the tensors that are read for more than their shape.
    """

    name: str
    segment: Segment
    reads: tuple[str, ...]
    values: frozenset[str]


class Layers:
    """The layers of one file, and where their operands and results lie."""

    def __init__(
        self,
        target: LayeredFile,
        names: Sequence[str],
        shapes: Mapping[tuple[str, tuple[int, ...]], tuple[int, ...]],
        fixed: Collection[str] = (),
    ):
        """``names``: ONNX tensors whose reference values can be had, the inputs among them; ``shapes``: ONNX tensor and
        its shape -> its shape in the file, as it was seen in a run; ``fixed``: where no layer begins."""
        self.target, self.names, self.shapes, file = target, names, shapes, target.file
        self.counterpart: dict[int, str] = {}
        self.aliases: dict[int, list[str]] = {}
        for name in names:  # of several ONNX names for one tensor the first is the one that is computed
            index = file.by_name.get(target.program.names.get(name, ""))
            if index is not None:
                self.counterpart.setdefault(index, name)
                self.aliases.setdefault(index, []).append(name)
        self.refused: dict[str, str] = {}  # layers that were not run, and why
        self.stops = {i for i, n in self.counterpart.items() if n not in fixed}

    def index(self, name: str) -> int | None:
        """The tensor of the file that an ONNX tensor is; None where the file has none."""
        return self.target.file.by_name.get(self.target.program.names.get(name, ""))

    def layer(self, name: str, beyond: Collection[int] = ()) -> Layer | None:
        """The layer of an ONNX tensor; None where it is a view of another one, or nothing is known before it.

        It begins before the tensors ``beyond``, not at them.
        """
        index = self.index(name)
        if index is None or self.counterpart.get(index) != name:
            return None
        segment = self.target.file.segment(index, self.stops.difference(beyond))
        if segment is None or not segment.operators:
            return None
        reads = tuple(self.counterpart[t] for t in segment.boundary)
        return Layer(name, segment, reads, frozenset(self.counterpart[t] for t in self._values(segment)))

    def _values(self, segment: Segment) -> set[int]:
        """The boundary tensors of which more is read than the shape."""
        producers, found, queue = self.target.file.producers, set[int](), [segment.target]
        seen = {segment.target}
        while queue:
            tensor = queue.pop()
            if tensor in segment.boundary:
                found.add(tensor)
                continue
            op = producers.get(tensor)
            if op is not None and op.name not in SHAPE_READERS:
                fresh = [t for t in op.inputs if t >= 0 and t not in seen]
                seen.update(fresh)
                queue += fresh
        return found

    def operators(self, name: str) -> tuple[str, ...]:
        """The names of those of a layer; none where there is no such layer."""
        layer = self.layer(name)
        return tuple(self.target.file.operators[i].name for i in layer.segment.operators) if layer else ()

    def is_view(self, name: str) -> bool:
        """True where another ONNX tensor, which comes first, is the same tensor of the file."""
        index = self.index(name)
        return index is not None and self.counterpart.get(index, name) != name

    def place(self, name: str, shape: tuple[int, ...]) -> Placement:
        """How an ONNX tensor of ``shape`` lies in the file.

        :raises FileError: where it is not known at this size.
        """
        index = self.index(name)
        assert index is not None
        seen = self.shapes.get((name, shape), self.target.file.tensors[index].shape)
        place = self.target.program.place(name, shape, seen)
        if place is None:
            raise FileError(f"the place of {name} is not known at this size")
        return as_told(place)

    def store(self, name: str, array: Array, symbols: Symbols) -> Array:
        """An ONNX tensor as the file has it; FileError where that is not known."""
        stored = self.target.program.names[name]
        place = self.place(name, array.shape)
        if is_order(place):
            moved = array.transpose(np.argsort(place.perm))  # of any extents, also of smaller ones than the file's
            return self.target.store(name, np.asarray(place.reduced(moved), order="C"), stored)
        known = inputs.bind([(place.shape, array.shape)], symbols)
        try:
            return self.target.store(name, place.store(array, known), stored)
        except ValueError as error:  # of extents that depend on data only one can be told
            raise FileError(f"the place of {name} is not known at this size") from error

    def restore(self, name: str, array: Array, shape: tuple[int, ...], like: np.dtype, symbols: Symbols) -> Array:
        """The ONNX tensor of ``shape``, in real numbers, from what the file has; that itself where it cannot be."""
        array = self.target.real(self.target.program.names[name], array, like)
        try:
            place = self.place(name, shape)
            if is_order(place) and array.ndim == len(place.perm):
                return place.enlarged(array).transpose(place.perm)
            return place.restore(array, inputs.bind([(place.shape, shape)], symbols))
        except (FileError, ValueError):  # another number of elements: the comparison says so
            return array


class Runs:
    """Some layers in the runtimes, on one set of operands after the other.  In a child only."""

    def __init__(self, owner: Layers, layers: Sequence[Layer], extract: Extract | None = None):
        """``extract``: what makes a model of parts, of another file than that of the layers."""
        self.target, self.extract = owner.target, extract or owner.target.file.extract
        self.segments = [layer.segment for layer in layers]
        self.conditions = self.target.file.conditions(self.segments)
        self.content: object = None
        self.runners: dict[str, Loaded] = {}

    def results(
        self, operands: Sequence[Array], runtime: str, last: bool = False
    ) -> tuple[list[Array], list[tuple[int, bool]]]:
        """What the layers make of ``operands``, those of all of them one after the other, as the file has them; and
        which way each IF operator went.  ``last``: the runtime lets go of them, of which another holds a copy."""
        if self.content is None:
            self.content = self.extract(self.segments, [a.shape for a in operands])
        if runtime not in self.runners:
            self.runners[runtime] = self.target.part(runtime, self.content)
        runner = self.runners.pop(runtime) if last else self.runners[runtime]
        found = runner.run({str(k): a for k, a in enumerate(operands)})
        count = len(self.segments)
        went = [(op, bool(found[str(count + k)])) for k, op in enumerate(self.conditions)]
        return [found[str(k)] for k in range(count)], went


def is_order(place: Placement) -> bool:
    """True where nothing but the order of the axes differs: none of them is split, nor are two of them one, nor is one
    of a single element elsewhere by a RESHAPE."""
    split, shape = list(place.split), list(place.shape)
    same = len(place.perm) == len(split) == len(shape) > 0 and split == list(place.value.shape)
    return same and [split[axis] for axis in place.perm] == shape
