"""The original model, run by ONNX Runtime: what every written file is compared with.

Graph optimisations are off: the tensors are those of the model, and ORT's fused uint8 x int8 kernels, which saturate on
processors without VNNI and are wrong there by up to 15 %, stay out of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import EncodeError

from ... import child
from ...errors import ConversionError, Problem, lacks_memory, one_line
from ...model.read import read_whole
from ...model.tensors import Store, is_external
from ...model.walk import constants, initializers, scopes
from ..bounds import Bounds, OverBudgetError
from ..feeds.inputs import InputSpec, describe
from ..feeds.operands import factors
from . import noise, precision, randomness, restate
from .known_errors import RUNTIME, PoolWindow, corrected, masked_outputs, masks_wrongly, windows
from .parts import Parts, inline_all, viewed
from .stepwise import RefusedError, Stepwise
from .unquantised import CARRIES, unquantise

Arrays = Mapping[str, np.ndarray]

QUANTISING = {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}


#: Of ONNX Runtime, for few runs of a model.
SESSION = {
    "session.disable_prepacking": "1",  # a second copy of the weights
    "session.intra_op.allow_spinning": "0",  # threads that wait for work would take a processor for it
    "session.inter_op.allow_spinning": "0",
}
LARGE = 256  # elements of a weight; anything smaller may be a shape or a scale
UNIT, HALF = 2.0**-22, 2.0**-11  # of a number: a unit in the last place of float32, half a one of float16


class NoReferenceError(Exception):
    """The original model cannot be run: nothing can be said about the files."""


UNQUANTISED = "unquantised"
ROUNDED = "rounded"  # in 16-bit floats, if the model computes in these
EXACT = "exact"  # in float64, where ONNX Runtime computes in that
INSIDE = "rounded inside"  # of operators that round to integers inside, what ONNX Runtime makes
OTHER_MEANINGS = ("", UNQUANTISED, EXACT, ROUNDED, INSIDE)  # every other rounding is that of a kind of file
STEPWISE = "ONNX Runtime, node by node"
REFUSED = "ONNX Runtime refuses the model"


@dataclass
class Reference:
    """The original model and what the checker knows of its graph.

    ``nodes`` maps every tensor to the (name, operator) of the node that makes it, in graph order; ``layers`` to the
    number of that node; ``reads`` to the tensors that it reads; ``steps`` the quantised ones to their step.
    ``halves``: it computes in float16 or bfloat16 and is run in float32, as the files are; ``quantised``: it rounds to
    integers, ``integers``: it multiplies bytes; ``masked``: tensors that ONNX Runtime is known to write wrongly;
    ``windows`` of pools; ``restated``: what ONNX Runtime refuses is run in other words; ``inside``: it has operators
    that round to integers inside, where the files do not; ``drawn``: results of nodes that draw random numbers,
    ``random``: those and what depends on them; ``noise``: all that nodes make is moved, at random, each element by a
    unit in its last place, of the tensors that are named by as much of itself as that says; ``folder`` of what a
    ``source`` that is no file refers to.
    ``size``: bytes of the constants; ``bounds``: what the check may take.
    """

    source: Path | onnx.ModelProto
    outputs: list[str]
    inputs: list[InputSpec]
    nodes: dict[str, tuple[str, str]] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)
    reads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    engine: str = "ONNX Runtime"
    notes: list[str] = field(default_factory=list)
    halves: bool = False
    quantised: bool = False
    integers: bool = False
    masked: frozenset[str] = frozenset()
    windows: Mapping[str, PoolWindow] = field(default_factory=dict)
    restated: bool = False
    inside: bool = False
    drawn: frozenset[str] = frozenset()
    random: frozenset[str] = frozenset()
    noise: Mapping[str, float] | None = None
    size: int = 0
    bounds: Bounds = field(default_factory=Bounds, compare=False)
    folder: Path | None = None

    @cached_property
    def parts(self) -> Parts:
        """The nodes of the model, without its large weights where these lie in files."""
        return Parts(self.source, self.folder)

    @classmethod
    def of(cls, source: Path | onnx.ModelProto, graph: gs.Graph) -> Reference:
        """``graph`` is the loaded model before any pass.

        :raises ConversionError: for a file whose name ONNX Runtime cannot be told.
        """
        if isinstance(source, Path) and (name := os.fsencode(source).decode("utf-8", "backslashreplace")) != str(
            source
        ):
            raise ConversionError(Problem(f"model '{name}'", "ONNX Runtime opens no file of such a name", "rename it"))
        nodes = [n for n in graph.nodes if n.op != "Constant"]
        made = {t.name: (n.name or n.outputs[0].name, n.op) for n in nodes for t in n.outputs if t.name}
        reference = cls(source, [t.name for t in graph.outputs], describe(graph), made)
        for number, node in enumerate(nodes):
            for tensor in node.outputs:
                reference.layers[tensor.name] = number
                reference.reads[tensor.name] = tuple(t.name for t in node.inputs if isinstance(t, gs.Variable))
        reference.halves, reference.integers = precision.computes_in_halves(graph), precision.multiplies_bytes(graph)
        reference.size = sum(t._values.nbytes for t in graph.tensors().values() if isinstance(t, gs.Constant))
        if isinstance(source, Path):  # with those in bodies
            reference.size = max(reference.size, source.stat().st_size)
        reference.masked, reference.windows = masked_outputs(graph), windows(graph)
        reference.drawn = randomness.drawn(graph)
        reference.random = randomness.depending(graph, reference.drawn) if reference.drawn else reference.drawn
        reference.quantised = any(n.op in QUANTISING for n in graph.nodes)
        if reference.quantised:
            reference.steps = quantisation_steps(graph)
            reference.notes.append("the model is quantised: reference without ONNX Runtime's fused 8-bit kernels")
        reference.notes += (said := restate.always(graph.nodes))
        reference.restated, reference.inside = bool(said), any(n.op in restate.INSIDE for n in nodes)
        if any(_masked_wrongly(n) for n in nodes):
            reference.engine = STEPWISE
            reference.notes.append(
                "this ONNX Runtime errs in an Attention with a mask: run node by node, by onnx.reference"
            )
        if reference.halves:
            reference.notes.append("the model computes in 16-bit floats: compared with what it means in float32")
        return reference

    @property
    def state(self) -> dict[str, object]:
        """What running the model taught, in a child, for the parent to take over."""
        plain = self.bounds.plain
        return {"engine": self.engine, "notes": list(self.notes), "restated": self.restated, "plain": plain}

    def adopt(self, state: Mapping[str, Any]) -> None:
        """The :attr:`state` of a child's copy."""
        self.engine, self.restated = state["engine"], state["restated"]
        self.notes[:], self.bounds.plain = state["notes"], state["plain"]

    def open(self, tensors: Sequence[str] | None = None, rounding: str = "") -> Session:
        """A session that returns the outputs, or else the named ``tensors``; with ``rounding`` of its weights to those
        that a kind of file has, or :data:`UNQUANTISED`, or :data:`EXACT`, or :data:`ROUNDED` or :data:`INSIDE` as ONNX
        Runtime does.

        :raises NoReferenceError: where the quantisation of the model cannot be taken out, or ONNX Runtime does not
            compute it in float64.
        """
        names, widened = list(tensors or self.outputs), self._widened(rounding)
        while self.engine != STEPWISE:
            try:
                engine, held = self._ort(names, rounding)
                return Session(engine, names, self, widened, held)
            except ort_errors() as error:
                _allocated(error)
                if rounding == EXACT:
                    raise NoReferenceError(one_line(error)) from error
                self.fall_back(one_line(error))
        return Session(Stepwise(self._model(names, rounding)), names, self, widened)

    def _widened(self, rounding: str) -> dict[str, type]:
        """The floats that others stand for in the model as it is run."""
        if rounding == EXACT:
            return dict.fromkeys(("float32", *precision.HALVES), np.float64)
        return dict.fromkeys(precision.HALVES, np.float32) if self.halves and rounding != ROUNDED else {}

    def fall_back(self, why: str) -> bool:
        """Take the next way to run the model, after ONNX Runtime refused it for the reason ``why``: in other words,
        then node by node.  False where there is none."""
        if self.engine == STEPWISE:
            return False
        if self.restated:
            self.engine, said = STEPWISE, "node by node, by onnx.reference where it has to be"
        else:
            self.restated, said = True, "in other words of the same meaning"
        self.notes[:] = [note for note in self.notes if not note.startswith(REFUSED)]  # why the last way was not one
        self.notes.append(f"{REFUSED} ({why}): run {said}")
        return True

    def _ort(self, names: list[str], rounding: str) -> tuple[Any, list[object]]:
        """The session, and weights that it reads where they are."""
        import onnxruntime as ort

        ort.set_default_logger_severity(4)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = child.processors()
        for key, value in SESSION.items():
            options.add_session_config_entry(key, value)
        if self.home:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self.home))
        model, weights = self._given(names, rounding)
        held: list[object] = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        if held:
            options.add_external_initializers(list(weights), held)
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]), held

    @property
    def home(self) -> Path | None:
        """The folder of what the model refers to, where it says nothing of that itself."""
        return self.folder or (self.source.resolve().parent if isinstance(self.source, Path) else None)

    def _given(self, names: list[str], rounding: str) -> tuple[str | bytes, Mapping[str, np.ndarray]]:
        """What ONNX Runtime loads, and weights that are other ones than there; those that stay as they are it reads
        where they lie."""
        if rounding in OTHER_MEANINGS or self.restated or self._reworded:
            return self._meant(names, rounding), {}
        model = self._exposed(names, viewed, inlined=False)
        weights = round_weights(model, rounding, self.home)
        return _serialised(model), weights

    @property
    def _reworded(self) -> bool:
        """Is it run with other operators or types than it has, where ONNX Runtime would load it as it is?"""
        return self.noise is not None or self.halves or (self.integers and precision.saturates())

    def _meant(self, names: list[str], rounding: str) -> str | bytes:
        if rounding or self._reworded:
            return _serialised(self._model(names, rounding))
        if isinstance(self.source, Path) and names == self.outputs and not self.restated:
            return str(self.source)
        if isinstance(self.source, onnx.ModelProto) and not self.restated:
            return self._more_outputs(self.source, names)
        model = self._exposed(names, viewed)
        if self.restated:
            restate.restate(model)
        return _serialised(model)

    def _model(self, names: list[str], rounding: str) -> onnx.ModelProto:
        """The model with ``names`` as its outputs, in the words that the reference needs."""
        model = self._exposed(names)
        if self.halves and rounding != ROUNDED:
            precision.widen(model)
        if self.integers and precision.saturates():
            precision.unsign(model)
        if self.restated:
            restate.restate(model, restate.INSIDE if rounding == INSIDE else frozenset())
        if rounding == UNQUANTISED and not unquantise(model):
            raise NoReferenceError("the model is quantised in a way that cannot be taken out")
        if rounding == EXACT:
            precision.deepen(model)
        if rounding not in OTHER_MEANINGS:
            round_weights(model, rounding)
        if self.noise is not None:
            noise.stir(model, self.noise, UNIT)
        return model

    def _more_outputs(self, model: onnx.ModelProto, names: list[str]) -> bytes:
        """The serialised ``model`` with ``names`` as outputs besides its own.

        Protobuf messages are merged by putting one behind the other, so the model itself is not copied for that.
        """
        more = onnx.ModelProto()
        more.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in self.outputs)
        return _serialised(model) + bytes(more.SerializeToString())

    def _exposed(
        self, names: list[str], read: Callable[[Path], onnx.ModelProto] = read_whole, inlined: bool = True
    ) -> onnx.ModelProto:
        """The model with ``names`` as its outputs; of a message ``inlined``: with all that lies elsewhere."""
        if isinstance(self.source, Path):
            model = read(self.source)
        else:
            model = onnx.ModelProto()
            model.CopyFrom(self.source)
            if inlined:
                inline_all(model, self.folder)
        known = {o.name: o for o in model.graph.output}
        del model.graph.output[:]
        model.graph.output.extend(known.get(n) or onnx.ValueInfoProto(name=n) for n in names)
        return model


@dataclass
class Session:
    """A loaded model: ``run`` gives the named tensors, or raises NoReferenceError for inputs that do not suit it, and
    MemoryError for such as are too large."""

    engine: Any
    names: list[str]
    reference: Reference
    widened: Mapping[str, type] = field(default_factory=dict)  # dtype -> the wider one that stands for it
    held: Sequence[object] = ()  # what the engine reads where it is

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """The named tensors, in ONNX order and of their ONNX dtypes (or what stands for these).

        :raises NoReferenceError: for inputs that do not suit the model.
        """
        given = {n: a.astype(self.widened.get(a.dtype.name, a.dtype), copy=False) for n, a in feeds.items()}
        try:
            results = self.engine.run(self.names, given)
        except _errors() as error:
            _allocated(error)
            raise NoReferenceError(one_line(error)) from error
        named = {name: np.asarray(result) for name, result in zip(self.names, results, strict=True)}
        return corrected(named, self.reference.masked)


def _serialised(model: onnx.ModelProto) -> bytes:
    """:raises OverBudgetError: for more than a message holds: nobody can be given that but as it lies on disk."""
    try:
        return bytes(model.SerializeToString())
    except EncodeError as error:
        raise OverBudgetError("more than 2 GB of weights cannot be given to ONNX Runtime in one piece") from error


def _errors() -> tuple[type[Exception], ...]:
    return (RefusedError, *ort_errors())


def _allocated(error: Exception) -> None:
    """:raises MemoryError: where ONNX Runtime says with ``error`` that it got no memory."""
    if lacks_memory(error):
        raise MemoryError(one_line(error)) from error


def _masked_wrongly(node: gs.Node) -> bool:
    masked = (len(node.inputs) > 3 and bool(node.inputs[3].name)) or bool(node.attrs.get("is_causal", 0))
    return masks_wrongly(RUNTIME, node.op, node.domain or "", node.attrs.get("softcap", 0.0), masked)


def ort_errors() -> tuple[type[Exception], ...]:
    """ORT's exceptions have no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*found, RuntimeError, ValueError)


def jitter(array: np.ndarray, seed: int = 0, rounding: str = "") -> np.ndarray:
    """Floats changed at random, each by as much as a ``rounding`` does at most: a unit in the last place of float32, or
    half a one of float16."""
    most = HALF if rounding == "float16" else UNIT
    if array.dtype.kind != "f":
        return array
    return (array * factors(array.size, seed, most).reshape(array.shape)).astype(array.dtype, copy=False)


def round_weights(model: onnx.ModelProto, kind: str, folder: Path | None = None) -> dict[str, np.ndarray]:
    """Large float weights changed by as much as a ``kind`` of file rounds them; as ``scales`` every float constant.

    Initializers that lie in files (of a ``folder``) stay in the message as they are: what they become is returned.

    The rounding of inputs is lost on a quantised model, whose first operator rounds them again; that of a scale tips
    values that lie between two steps, and so shows what half-way cases do to the layers behind.  What sizes depend on
    stays.
    """
    sizes = noise.sizes(model)
    elsewhere, store = dict[str, np.ndarray](), Store(folder)
    for tensor, initial in _floats(model, sizes, 1 if kind == "scales" else LARGE):
        there = is_external(tensor)
        values = np.frombuffer(store.view(tensor), "<f4") if there else onnx.numpy_helper.to_array(tensor)
        moved = jitter(values.reshape(tensor.dims), rounding=kind)
        if there and initial:
            elsewhere[tensor.name] = moved
        else:
            tensor.CopyFrom(onnx.numpy_helper.from_array(moved, tensor.name))
    for splat in _splats(model, sizes):
        # all elements are rounded alike: the worst that can be is one number, and no draw has to find it
        most = onnx.numpy_helper.to_array(splat) * np.float32(1 + (HALF if kind == "float16" else UNIT))
        splat.CopyFrom(onnx.numpy_helper.from_array(most, splat.name))
    return elsewhere


def _floats(model: onnx.ModelProto, sizes: set[str], least: int) -> list[tuple[onnx.TensorProto, bool]]:
    """The float32 constants of so many elements, those in bodies and functions too, but for those called as in
    ``sizes``; whether each is an initializer of the graph itself (a Constant's value may have the name of any)."""
    top = initializers(model.graph)
    held = [
        (tensor, scope.graph is model.graph and name in top)
        for scope in scopes(model)
        for name, tensor in constants(scope.graph).items()
        if name not in sizes
    ]
    return [(t, i) for t, i in held if t.data_type == onnx.TensorProto.FLOAT and np.prod(t.dims) >= least]


def _splats(model: onnx.ModelProto, sizes: set[str]) -> list[onnx.TensorProto]:
    """The one number of every ConstantOfShape that makes floats."""
    every = (n for scope in scopes(model) for n in scope.graph.node)
    nodes = [n for n in every if n.op_type == "ConstantOfShape" and n.output[0] not in sizes]
    return [a.t for n in nodes for a in n.attribute if a.t.data_type == onnx.TensorProto.FLOAT]


def quantisation_steps(graph: gs.Graph) -> dict[str, float]:
    """The step of every float tensor beside a QuantizeLinear or DequantizeLinear."""
    steps: dict[str, float] = {}
    for node in graph.nodes:
        if node.op in ("QuantizeLinear", "DequantizeLinear") and (scale := _scale(node.inputs[1])) is not None:
            tensor = node.inputs[0] if node.op == "QuantizeLinear" else node.outputs[0]
            steps[tensor.name] = max(steps.get(tensor.name, 0.0), float(np.max(scale)))
        elif node.op in CARRIES and node.inputs[0].name in steps:
            for result in node.outputs:
                steps.setdefault(result.name, steps[node.inputs[0].name])
    return steps


def _scale(tensor: gs.Tensor) -> np.ndarray | None:
    """A constant, also behind Identity nodes and from a Constant node."""
    while not isinstance(tensor, gs.Constant) and tensor.inputs and tensor.inputs[0].op == "Identity":
        tensor = tensor.inputs[0].inputs[0]
    return tensor.values if isinstance(tensor, gs.Constant) else None
