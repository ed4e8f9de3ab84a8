"""The contract of a pass, the registry, and the manager, which is a pass itself."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from ..errors import LIMITS, ConversionError, mistake, unforeseen
from ..model.edit import graphs
from ..record import record


@record
class PassOptions:
    """What the user can say about the tuning."""

    simplify: str = "auto"
    """`auto`: onnxsim only where it may still find something; `always`; `never`."""
    fold_budget: int = 1 << 20
    """Bytes by which constant folding, all in all, may make the constants grow."""
    disabled: frozenset[str] = frozenset()
    batch_size: int | None = None
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    keep_nodes: frozenset[str] = frozenset()
    """Names of nodes that are neither folded, fused nor removed."""
    input_names: tuple[str, ...] = ()
    """Tensors at which the graph is cut: they become the inputs."""
    output_names: tuple[str, ...] = ()


@dataclass
class PassResult:
    graph: gs.Graph
    modified: bool
    notes: list[str] = field(default_factory=list)


def counted(graph: gs.Graph, counts: dict[str, int], prefix: str = "") -> PassResult:
    """The result of a pass whose changes can be counted: "3 dead nodes" for {"dead node(s)": 3}."""
    notes = [prefix + plural(n, what) for what, n in counts.items() if n]
    return PassResult(graph, bool(notes), notes)


def plural(count: int, what: str) -> str:
    """ "1 node", "2 nodes" for "node(s)"."""
    return f"{count} {what.replace('(s)', '' if count == 1 else 's')}"


@record
class PassReport:
    """One line of what :func:`optimize` did."""

    name: str
    modified: bool
    notes: tuple[str, ...]
    seconds: float


class Pass:
    """One change of a graph, in place. `requires` and `ensures` raise ConversionError where their condition fails."""

    name = "pass"

    def __init__(self, options: PassOptions | None = None):
        self.options = options or PassOptions()

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self) or "").partition("\n")[0]

    def requires(self, graph: gs.Graph) -> None:
        """What must hold before."""

    def call(self, graph: gs.Graph) -> PassResult:
        """Do it; the result says whether anything changed, and what to tell."""
        raise NotImplementedError

    def ensures(self, graph: gs.Graph) -> None:
        """What holds afterwards: every tensor that is read is produced, in order; else ConversionError."""
        for g in graphs(graph):
            late = {id(t) for n in g.nodes for t in n.outputs}
            for node in g.nodes:
                for tensor in node.inputs:
                    if id(tensor) in late:
                        what = f"{node.op} '{node.name}' reads '{tensor.name}' before it is made"
                        raise ConversionError(mistake(f"pass '{self.name}'", what, self.remedy))
                late.difference_update(map(id, node.outputs))

    @property
    def remedy(self) -> str:
        """What to do about an error of the pass itself."""
        return f"a defect of the pass; disable it by name ({self.name}) and report the model"

    def mine(self, graph: gs.Graph) -> list[gs.Node]:
        """The nodes of the graph, without its bodies, that the pass may touch."""
        return [n for n in graph.nodes if not n.domain and n.name not in self.options.keep_nodes]

    def __call__(self, graph: gs.Graph) -> PassResult:
        self.requires(graph)
        result = self.call(graph)
        if result.modified:
            self.ensures(result.graph)
        return result


@dataclass
class History:
    """How often a graph was changed, and how often it had been when a pass had nothing to do: until the next change
    that pass has nothing to do again."""

    changes: int = 0
    idle: dict[Pass, int] = field(default_factory=dict)

    def settled(self, one: Pass) -> bool:
        """Did this pass, or every one of these, run since the last change, and had nothing to do?"""
        if isinstance(one, PassManager):
            return all(map(self.settled, one.passes))
        return self.idle.get(one) == self.changes

    def add(self, one: Pass, modified: bool) -> None:
        """A pass has run."""
        if modified:
            self.changes += 1
        else:
            self.idle[one] = self.changes


Listener = Callable[[str, int, int], None]


class PassManager(Pass):
    """Runs passes in order, but none that had nothing to do since the last change; with `steps` > 1 again and again
    until nothing changes any more."""

    def __init__(
        self, passes: Sequence[Pass], *, steps: int = 1, name: str = "group", listener: Listener | None = None
    ):
        super().__init__()
        self.passes, self.steps, self.name, self.listener = list(passes), steps, name, listener
        self.reports: list[PassReport] = []
        self.history = History()

    def ensures(self, graph: gs.Graph) -> None:
        """Every pass has said it for itself."""

    def call(self, graph: gs.Graph) -> PassResult:
        """Every pass in order, in rounds, each reported."""
        notes: list[str] = []
        modified, history = False, self.history
        for index, one in enumerate(self.passes * self.steps):
            if history.settled(one):
                continue
            if self.listener:
                self.listener(one.name, index % len(self.passes), len(self.passes))
            result = self._run(one, graph)
            graph = result.graph
            modified |= result.modified
            notes += [f"{one.name}: {note}" for note in result.notes]
        if self.steps > 1 and not all(map(history.settled, self.passes)):
            notes.append(f"stopped after {self.steps} rounds")
        self.history = History()  # whatever happens to the graph before the next call is not in it
        return PassResult(graph, modified, notes)

    def _run(self, one: Pass, graph: gs.Graph) -> PassResult:
        start = time.perf_counter()
        if isinstance(one, PassManager):
            one.history = self.history
        try:
            result = one(graph)
        except ConversionError:
            raise
        except tuple(LIMITS) as e:
            raise ConversionError(unforeseen(f"pass '{one.name}'", e)) from e
        except Exception as e:
            before = ", ".join(r.name for r in self.reports) or "none"
            what = f"{type(e).__name__}: {e} (passes before it: {before})"
            raise ConversionError(mistake(f"pass '{one.name}'", what, one.remedy)) from e
        seconds = time.perf_counter() - start
        if isinstance(one, PassManager):
            self.reports += one.reports
            one.reports = []
        else:
            self.history.add(one, result.modified)
            self.reports.append(PassReport(one.name, result.modified, tuple(result.notes), seconds))
        return result
