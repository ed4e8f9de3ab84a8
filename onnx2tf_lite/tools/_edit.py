"""What every editing tool does around its edit: load or copy, then check, compare, write, say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict

from ..commands import Log
from ..errors import ToolError
from ..model import names, walk
from ..model.lazy import onnx
from ..model.light import digest
from ..model.read import read_model
from ..model.types import dims, types
from ..model.write import copy_unchanged, write_model

if TYPE_CHECKING:
    from onnx import ModelProto, TypeProto

    from ..model.walk import Scope


class Common(TypedDict, total=False):
    """The keywords that every editing function takes besides its own.

    ``check``: verify the result (onnx.checker, strict shape inference, ONNX Runtime where the meaning must not change);
    ``missing_ok``: a name that does not exist is a warning; ``dry_run``: do everything but write; ``external_data``,
    ``size_threshold``: as in :func:`onnx2tf_lite.tools.save`.
    """

    check: bool
    missing_ok: bool
    dry_run: bool
    external_data: bool | None
    size_threshold: int


class Edit:
    """``with Edit(__name__, path, graph, output, quiet, **common) as job:`` edit ``job.model``, in place or by
    assigning another one, and ``return job.model``.  At the end of the block the result is checked and, if an output
    path was given, written; an exception in the block or in the check leaves every file as it was.
    """

    def __init__(
        self,
        tool: str,
        path: str,
        graph: ModelProto | None = None,
        output: str = "",
        quiet: bool = False,
        *,
        check: bool = True,
        missing_ok: bool = False,
        dry_run: bool = False,
        external_data: bool | None = None,
        size_threshold: int = 1024,
        made: bool = False,
    ):
        """``made``: there is no model yet; the block makes one and assigns it to ``model``."""
        self.tool, self.path, self.graph, self.output = tool.rpartition(".")[2], path, graph, output
        self.checks, self.missing_ok, self.dry_run, self.made = check, missing_ok, dry_run, made
        self.storage: dict[str, Any] = {"external_data": external_data, "size_threshold": size_threshold}
        self.log = Log(quiet, output)
        self.model: ModelProto
        self.written: list[Path] = []
        self._test: Callable[[], str] | None = None
        self._digest = b""

    def __enter__(self) -> Edit:
        try:
            if self.graph is not None:
                self.model = onnx.ModelProto()
                self.model.CopyFrom(self.graph)
            elif self.path:
                self.model = read_model(self.path)
                self._digest = digest(self.model)
                if self.path == "-":
                    self.graph = onnx.ModelProto()
                    self.graph.CopyFrom(self.model)
            elif not self.made:
                raise ToolError("no model: give input_onnx_file_path or onnx_graph")
        except ToolError as error:
            error.tool = error.tool or self.tool
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, ToolError):
            error.tool = error.tool or self.tool
        if error is None:
            try:
                self._finish()
            except ToolError as late:
                late.tool = late.tool or self.tool
                raise

    @cached_property
    def before(self) -> ModelProto:
        """The model as it came; not to be changed."""
        return self.graph if self.graph is not None else read_model(self.path)

    def _finish(self) -> None:
        unchanged = not self.made and self.graph is None and digest(self.model) == self._digest
        if not self.checks:
            self.log.warning("not checked (--no-check)")
        elif not unchanged:
            self._verify()
        if self.dry_run:
            self.log.info("dry run: nothing written")
            return
        if self.output:
            if unchanged and self.storage["external_data"] is None and "-" not in (self.path, self.output):
                self.written = copy_unchanged(self.model, Path(self.path), Path(self.output))
            if not self.written:
                self.written = write_model(self.model, self.output, **self.storage, note=self.log.info)
        self.log.info("Finish!")

    def _verify(self) -> None:
        from ..model.infer import check
        from . import _verify

        check(self.model, lambda: None if self.made else self.before, self.log.warning)
        if self._test is not None:
            try:
                self.log.info(self._test())
            except _verify.NotRun as error:
                self.log.warning(f"the result was not run, as the model cannot be: {error}")

    # --- for the edit ------------------------------------------------------------------------------------------------

    def test(self, run: Callable[[], str]) -> None:
        """Ask for a comparison of one's own before the result is written: it says what it found, or raises
        ToolError, or NotRun where nothing can be said."""
        self._test = run

    def same_outputs(
        self,
        feed: Callable[..., Any] | None = None,
        result: Callable[..., Any] | None = None,
        tensors: list[str] | None = None,
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
        from ..model.infer import retype

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

    def _lenient(self, look: Callable[[], list[tuple[Scope, str]]]) -> list[tuple[Scope, str]]:
        try:
            return look()
        except ToolError as error:
            if not self.missing_ok or error.what.endswith("; say which"):
                raise
            self.log.warning(f"{error} (left out)")
            return []

    def types(self) -> dict[str, TypeProto]:
        """The type of every tensor of the main graph, as inferred now."""
        from ..model.infer import infer

        return types(infer(self.model).graph)

    def types_of(self, names: Iterable[str], flag: str) -> dict[str, TypeProto]:
        """As :meth:`types`; for those of ``names`` without a known rank ONNX Runtime is asked.  ToolError where it does
        not know either."""
        known = self.types()
        unsure = [n for n in names if (t := known.get(n)) is None or (t.HasField("tensor_type") and dims(t) is None)]
        if unsure:
            from ._verify import NotRun, runtime_types

            try:
                known |= runtime_types(self.model, unsure)
            except NotRun as error:
                raise ToolError(f"{flag}: the type of {', '.join(unsure)} is unknown: {error}", unsure[0]) from error
        return known

    def opset(self, domain: str = "") -> int:
        """The version that the model imports of a domain; 0 for none."""
        aliases = ("", "ai.onnx") if domain in ("", "ai.onnx") else (domain,)
        return max((e.version for e in self.model.opset_import if e.domain in aliases), default=0)
