"""The tools as verbs of one command, with the function that a recipe or a script calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from importlib import import_module
from types import ModuleType
from typing import Any

from ..record import record


@record
class Verb:
    """``name`` is that of the function in the module ``tool``; ``edits``: it takes or makes a model, so a recipe can
    have it; ``defaults`` differ from those of the known tool."""

    tool: str
    name: str
    summary: str
    edits: bool = True
    defaults: dict[str, Any] = field(default_factory=dict)

    def module(self) -> ModuleType:
        return import_module(f".{self.tool}", __package__)

    def function(self) -> Callable[..., Any]:
        return getattr(self.module(), self.name)  # type: ignore[no-any-return]


GROUPS: dict[str, dict[str, Verb]] = {
    "take apart and put together": {
        "combine": Verb("snc4onnx", "combine", "join models, outputs to inputs", defaults={"simplify": False}),
        "extract": Verb("sne4onnx", "extraction", "cut a part out, or split into a chain"),
        "generate": Verb("sog4onnx", "generate", "make a model of one operator"),
    },
    "nodes and connections": {
        "add": Verb("sna4onnx", "add", "add a node"),
        "delete": Verb("snd4onnx", "remove", "delete nodes and bridge the gap"),
        "rewire": Verb("svs4onnx", "variable_switch", "let a node read another tensor"),
        "modify": Verb("sam4onnx", "modify", "change attributes and constants"),
        "rename": Verb("sor4onnx", "rename", "rename tensors, nodes, dimensions"),
        "name": Verb("sng4onnx", "generate", "name the nodes without a name"),
    },
    "inputs and outputs": {
        "add-outputs": Verb("soa4onnx", "outputs_add", "make inner tensors outputs"),
        "delete-outputs": Verb("sod4onnx", "outputs_delete", "delete outputs and what only served them"),
        "shapes": Verb("sio4onnx", "io_change", "change the shapes of inputs and outputs"),
        "batch": Verb("sbi4onnx", "initialize", "make the batch size symbolic, or fix it"),
        "order": Verb("scc4onnx", "order_conversion", "NCHW or NHWC, RGB or BGR"),
    },
    "the whole model": {
        "infer": Verb("ssi4onnx", "shape_inference", "infer shapes"),
        "opset": Verb("soc4onnx", "change", "convert to another opset"),
        "simplify": Verb("spo4onnx", "partial_optimization", "fold and remove what can be, keep the rest"),
        "share": Verb("scs4onnx", "shrinking", "share equal constants"),
        "erase-docs": Verb("sde4onnx", "erase", "erase doc strings"),
    },
    "look and test": {
        "structure": Verb("ssc4onnx", "structure_check", "operators, parameters, sizes; compare two models"),
        "view": Verb("view", "view", "a page with the picture of a model", edits=False),
        "diff": Verb("diff", "diff", "in what two models differ", edits=False),
        "test": Verb("sit4onnx", "inference", "run, time, compare", edits=False),
        "to-json": Verb("onnx2json", "convert", "the model as JSON", edits=False),
        "from-json": Verb("json2onnx", "convert", "a model from JSON", edits=False),
        "constant": Verb("sed4onnx", "encode", "constants of the JSON form", edits=False),
    },
}
VERBS: dict[str, Verb] = {verb: row for group in GROUPS.values() for verb, row in group.items()}
#: Known name of a tool -> its verb.
TOOLS: dict[str, str] = {row.tool: verb for verb, row in VERBS.items() if row.tool != verb}
