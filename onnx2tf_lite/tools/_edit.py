"""``@edit``: a plain function that changes a model becomes a tool: load or copy, then check, compare, write, say so."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from ..commands import Log
from ..errors import ToolError, ambiguous, naming, unknown
from ..model import names, walk
from ..model.infer import check, infer, retype
from ..model.lazy import np, onnx
from ..model.light import digest
from ..model.read import read_model, view_model
from ..model.types import dims, types
from ..model.walk import Scope
from ..model.write import atomic, copy_unchanged, write_model
from ._verify import NotRunError

if TYPE_CHECKING:  # numpy is not to be loaded for help
    #: Arrays of one model by name -> those of the other.
    Turn = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]

Made = TypeVar("Made")
Row = tuple[str, str, Any]
#: What a tool takes besides its own parameters: name, type, default.
ENDS: dict[str, Row] = {
    "MODEL": ("input_onnx_file_path", "str", ""),
    "GRAPH": ("onnx_graph", "onnx.ModelProto | None", None),
    "OUTPUT": ("output_onnx_file_path", "str", ""),
    "QUIET": ("non_verbose", "bool", False),
}
RAISES = "Raises ToolError for what cannot be done; files are as they were then."
COMMON: list[Row] = [
    ("check", "bool", True),
    ("missing_ok", "bool", False),
    ("dry_run", "bool", False),
    ("external_data", "bool | None", None),
    ("size_threshold", "int", 1024),
]


def edit(order: str) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
    """The tool of a function ``(job: Edit, its parameters...)``, which edits ``job.model``, in place or by assigning
    another one.

    ``order`` is the signature that users know: the positional parameters, in which MODEL, GRAPH, OUTPUT and QUIET stand
    for the ends of every tool (:data:`ENDS`) and ``*`` for the function's others; its keywords, and :data:`COMMON`,
    follow.  Without MODEL the function makes a model.  What it leaves is checked and, if there is an output path,
    written; an error leaves every file as it was.
    """

    def decorate(function: Callable[..., Made]) -> Callable[..., Made]:
        signature, name = _signature(function, order.split()), function.__module__.rpartition(".")[2]

        @wraps(function)
        def tool(*args: Any, **keywords: Any) -> Made:
            bound = signature.bind(*args, **keywords)
            bound.apply_defaults()
            own = dict(bound.arguments)
            ends = {n: own.pop(n) for n in set(own) - set(inspect.signature(function).parameters)}
            with naming(name):
                job = Edit(name, "MODEL" not in order, **ends)
                made = function(job, **own)
                job.finish()
            return made

        tool.__signature__ = signature  # type: ignore[attr-defined]
        tool.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{RAISES}"
        return tool

    return decorate


def _signature(function: Callable[..., Any], order: list[str]) -> inspect.Signature:
    known, kind = inspect.signature(function), inspect.Parameter
    own = dict(list(known.parameters.items())[1:])  # without the job
    rest = [n for n, p in own.items() if p.kind is kind.POSITIONAL_OR_KEYWORD and n not in order]
    names = [name for word in order for name in (rest if word == "*" else [word])]
    places = [own.pop(n) if n in own else _parameter(ENDS[n], kind.POSITIONAL_OR_KEYWORD) for n in names]
    quiet = [] if "QUIET" in order else [ENDS["QUIET"]]
    extra = [_parameter(row, kind.KEYWORD_ONLY) for row in (*quiet, *COMMON) if row[0] not in own]
    return known.replace(parameters=[*places, *own.values(), *extra])


def _parameter(row: Row, kind: inspect._ParameterKind) -> inspect.Parameter:
    name, annotation, default = row
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


class Edit:
    """What a tool works on: ``model``, to be edited or replaced, ``before``, as it was, and ``log``."""

    model: onnx.ModelProto

    def __init__(
        self,
        tool: str,
        makes: bool,
        input_onnx_file_path: str = "",
        onnx_graph: onnx.ModelProto | None = None,
        output_onnx_file_path: str = "",
        non_verbose: bool = False,
        check: bool = True,
        missing_ok: bool = False,
        dry_run: bool = False,
        **storage: Any,
    ):
        """``makes``: there is no model yet; the function makes one and assigns it to ``model``."""
        self.tool, self.makes, self.storage = tool, makes, storage
        self.path, self.graph, self.output = str(input_onnx_file_path), onnx_graph, str(output_onnx_file_path)
        self.missing_ok, self.dry_run = missing_ok, dry_run
        self.unchecked = "" if check else "--no-check"
        self.log = Log(non_verbose, self.output)
        self.written: list[Path] = []
        self._files: list[tuple[str, Callable[[BinaryIO], object]]] = []
        self._test: Callable[[], str] | None = None
        self._digest = b""
        if not makes:
            self._open()

    def _open(self) -> None:
        if self.graph is not None:
            self.model = copied(self.graph)
            walk.one_domain(self.model)
            return
        if not self.path:
            raise ToolError("no model: give input_onnx_file_path or onnx_graph")
        self.model = read_model(self.path)
        walk.one_domain(self.model)
        self._digest = digest(self.model)
        if self.path == "-":
            self.graph = copied(self.model)

    @cached_property
    def before(self) -> onnx.ModelProto:
        """The model as it came; not to be changed."""
        return self.graph if self.graph is not None else view_model(self.path)

    @property
    def checks(self) -> bool:
        """Is the result checked?  Not where ``unchecked`` says why."""
        return not self.unchecked

    def finish(self) -> None:
        """Check the result, and write it."""
        unchanged = bool(self._digest) and self.graph is None and digest(self.model) == self._digest
        if not self.checks:
            self.log.warning(f"not checked ({self.unchecked})")
        elif not unchanged:
            self._verify()
        if self.dry_run:
            self.log.info("dry run: nothing written")
            return
        if self.output:
            self._write(unchanged)
        for path, fill in self._files:
            with atomic(path) as file:
                fill(file)
        if self.output:
            self.log.info("Finish!")

    def _write(self, unchanged: bool) -> None:
        if unchanged and self.storage["external_data"] is None and "-" not in (self.path, self.output):
            self.written = copy_unchanged(self.model, Path(self.path), Path(self.output))
        if not self.written:
            self.written = write_model(self.model, self.output, **self.storage, note=self.log.info)

    def _verify(self) -> None:
        try:
            check(self.model, lambda: None if self.makes else self.before, self.log.warning)
            if self._test is not None:
                self.log.info(self._test())
        except NotRunError as error:
            self.log.warning(f"the result was not run, as the model cannot be: {error}")
        except ToolError as error:
            raise ToolError(f"{error.what} (--no-check to insist)", error.name, error.candidates, error.tool) from error

    # --- for the edit ------------------------------------------------------------------------------------------------

    def beside(self, path: str, fill: Callable[[BinaryIO], object]) -> None:
        """Write another file behind the result, and where only that is returned."""
        self._files.append((path, fill))

    def test(self, run: Callable[[], str]) -> None:
        """Ask for a comparison of one's own before the result is written: it says what it found, or raises
        ToolError, or NotRunError where nothing can be said."""
        self._test = run

    def same_outputs(
        self, feed: Turn | None = None, result: Turn | None = None, tensors: list[str] | None = None
    ) -> None:
        """Ask that the result computes what the model did (arguments: see ``_verify.same_outputs``)."""
        from . import _verify

        self.test(lambda: _verify.same_outputs(self.before, self.model, feed, result, tensors))

    def must_run(self) -> None:
        """Ask that the result still runs, where the model did: for edits that may change what is computed."""
        from . import _verify

        self.test(lambda: _verify.still_runs(self.before, self.model))

    def rewired(self) -> None:
        """After connections changed: nodes in order, declared types as they are now."""

        for scope in walk.scopes(self.model):
            walk.sort(scope.graph)

        for note in retype(self.model):
            self.log.info(note)
        self.must_run()

    def find(self, kind: str, name: str, flag: str) -> tuple[Scope, str] | None:
        """:func:`.names.find`; None, and a warning, for a missing name that may be missing."""
        found = self._lenient(lambda: [names.find(self.model, kind, name, flag)])
        return found[0] if found else None

    def match(self, kind: str, wanted: Iterable[str], flag: str) -> list[tuple[Scope, str]]:
        """The places of all names and globs, each once, in the order asked."""
        found = [p for n in wanted for p in self._lenient(lambda n=n: names.match(self.model, kind, n, flag))]  # type: ignore[misc]
        return list({(id(s.graph), n): (s, n) for s, n in found}.values())

    def slot(self, text: str, flag: str) -> tuple[Scope, onnx.NodeProto, int]:
        """The input that ``node.index`` means; ToolError where there is none, or are several."""
        name, dot, index = text.rpartition(".")
        if not dot or not index.isdigit():
            raise ToolError(f"{flag}: {text!r} is not NODE.INDEX, such as add0.1", text)
        scope, found = names.find(self.model, "node", name, flag)
        nodes = [n for n in scope.graph.node if n.name == found]
        if len(nodes) > 1:
            raise ambiguous(flag, "node", name, [scope.address(found)] * len(nodes))
        if int(index) >= len(nodes[0].input) or not nodes[0].input[int(index)]:
            raise ToolError(f"{flag}: {name!r} has no input {index}: it reads {', '.join(nodes[0].input)}", text)
        return scope, nodes[0], int(index)

    def _lenient(self, look: Callable[[], list[tuple[Scope, str]]]) -> list[tuple[Scope, str]]:
        try:
            return look()
        except ToolError as error:
            if not self.missing_ok or error.what.endswith("; say which"):
                raise
            self.log.warning(f"{error} (left out)")
            return []

    def types(self) -> dict[str, onnx.TypeProto]:
        """The type of every tensor of the main graph, as inferred now."""

        return types(infer(self.model).graph)

    def types_of(self, names: Iterable[str], flag: str) -> dict[str, onnx.TypeProto]:
        """As :meth:`types`; for those of ``names`` without a known rank ONNX Runtime is asked.  ToolError where it does
        not know either."""
        known = self.types()
        unsure = [n for n in names if (t := known.get(n)) is None or (t.HasField("tensor_type") and dims(t) is None)]
        if unsure:
            from ._verify import NotRunError, runtime_types

            try:
                known |= runtime_types(self.model, unsure)
            except NotRunError as error:
                raise ToolError(f"{flag}: the type of {', '.join(unsure)} is unknown: {error}", unsure[0]) from error
        return known

    def opset(self, domain: str = "") -> int:
        """The version that the model imports of a domain; 0 for none."""
        return walk.opset_of(self.model, Scope(self.model.graph), domain)


def port(graph: onnx.GraphProto, kind: str, name: str, flag: str) -> onnx.ValueInfoProto:
    """The declaration of a "graph input" or "graph output"; ToolError where there is none of that name."""
    known = walk.inputs(graph) if kind == "graph input" else walk.outputs(graph)
    if name not in known:
        raise unknown(flag, kind, name, known)
    infos: Iterable[onnx.ValueInfoProto] = graph.input if kind == "graph input" else graph.output
    return next(v for v in infos if v.name == name)


def set_shape(info: onnx.ValueInfoProto, dims: Iterable[int | str | None]) -> None:
    """Declare the shape of a tensor, which keeps its dtype."""
    info.type.CopyFrom(onnx.helper.make_tensor_type_proto(info.type.tensor_type.elem_type, list(dims)))


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made
