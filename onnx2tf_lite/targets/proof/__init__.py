"""The devices' own tools, each run in a child process with limits; what they find overrules a table.

A row of :data:`TOOLS` names the package (and the extra of this one that brings it) and the module with its ``ask``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from ...child import DiedError, Limits, call
from ...record import record

if TYPE_CHECKING:
    from ...validation.files.flatfile import FlatFile

Place = tuple[int, int]  # number of the subgraph, of the operator in it
ARENA = "bytes of arena"  # the figure that TFLM measures
LIMITS = Limits(seconds=300, memory=6 << 30)


@dataclass
class Evidence:
    """What a tool found.

    ``tool``     which, with its version; empty where it could not be asked
    ``left``     operators that it leaves to the processor, with its reason
    ``refused``  operators that cannot be run at all
    ``failed``   why the file as a whole does not run
    ``bodies``   false where it says nothing of the operators in bodies of control flow
    """

    tool: str = ""
    left: Mapping[Place, str] = field(default_factory=dict)
    refused: Mapping[Place, str] = field(default_factory=dict)
    failed: str = ""
    bodies: bool = True
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@record
class Tool:
    """``module`` is what is imported of it, ``package`` its name where packages are installed."""

    title: str
    module: str
    package: str
    extra: str


TOOLS = {
    "tflm": Tool("TFLM's interpreter", "tflite_micro.python.tflite_micro.runtime", "tflite-micro", "micro"),
    "vela": Tool("Vela", "ethosu.vela.vela", "ethos-u-vela", "ethos-u"),
    "xnnpack": Tool("LiteRT with XNNPACK", "ai_edge_litert.interpreter", "ai-edge-litert", ""),
}


def run(name: str, device: str, file: FlatFile) -> Evidence:
    """Ask a tool about a file."""
    tool = TOOLS[name]
    try:
        import_module(tool.module)  # here, so that each child finds it loaded
    except ImportError:
        return Evidence(
            notes=[f"by table only: {tool.title} is not installed: pip install 'onnx2tf_lite[{tool.extra}]'"]
        )
    ask = import_module(f".{name}", __name__).ask
    title = f"{tool.title} {version(tool.package)}"
    try:
        found: Evidence = call(lambda: ask(device, file), limits=LIMITS)
    except DiedError as death:
        return Evidence(title, failed=f"{tool.title} {death}")
    found.tool = title
    return found
