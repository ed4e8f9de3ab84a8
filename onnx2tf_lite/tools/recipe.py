"""Run a list of tools on a model in memory: nothing is written between the steps.

A recipe is a YAML list of steps; a step is the verb and the parameters of its function (`onnx-tune VERB -h` lists the
verbs; `onnx-tune run --schema` the parameters, as a JSON schema for editors):

    - extract: {input_op_names: [images], output_op_names: [boxes, scores]}
    - rename:
        old_new: [["onnx::", ""]]
        search_mode: partial_match
    - part: {code: Z004, boxes: 8400, as: nms}
    - combine: {models: [model, nms], srcop_destop: [[boxes, boxes]]}

Every step may say `on: NAME`, the model it works on (default: model, the one of the command line), and `as: NAME`, what
its result is called (default: the same); `combine` takes `models: [..]`; `part` makes a component of the parts yard. A
recipe may also be a mapping: `models: {nms: nms.onnx}`, files beside it, and `steps: [..]`. The result is what the last
step made.

examples:
  onnx-tune run recipe.yaml model.onnx -o out.onnx
  onnx-tune run recipe.yaml model.onnx -o out.onnx --with nms=nms.onnx
  onnx-tune run recipe.yaml model.onnx --dry-run
  onnx-tune run --schema > recipe.schema.json
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..commands import command, documents, flag, option, parameter
from ..commands.documents import place, plain, word
from ..errors import ToolError, nearest
from ..model.lazy import onnx
from ..model.read import read_model
from ._edit import Edit, edit
from ._options import COMMON
from ._verbs import VERBS

#: Parameters that the runner fills in.
_OURS = re.compile(
    r"input_onnx_file_paths?|onnx_graphs?|output_onnx_file_path|output_of_onnx_file_.*|non_verbose"
    r"|dry_run|external_data|size_threshold"
)
_STEP = {"on": "str", "as": "str"}
#: annotation -> what a YAML value has to be, and its JSON schema.  Six lines instead of pydantic, which would be a
#: compiled dependency of every installation, and would have to be told of the lazy np and onnx in the annotations.
_TYPES: list[tuple[str, tuple[type, ...], str, dict[str, str]]] = [
    (r"bool", (bool,), "true or false", {"type": "boolean"}),
    (r"int", (int,), "a whole number", {"type": "integer"}),
    (r"float", (int, float), "a number", {"type": "number"}),
    (r"str", (str,), "a text", {"type": "string"}),
    (r"(Sequence|list|tuple)\[.*", (list,), "a list", {"type": "array"}),
    (r"(Mapping|dict)\[.*|Values", (dict,), "a mapping", {"type": "object"}),
]

#: The recipes that the package has.
OWN = Path(__file__).parent / "parts" / "recipes"


@dataclass
class Step:
    verb: str
    line: int
    values: dict[str, Any]
    lines: dict[str, int]


# --- reading ---------------------------------------------------------------------------------------------------------


def read(path: str) -> tuple[dict[str, str], list[Step]]:
    """The named models and the steps of a recipe; "-" is standard input.

    Raises ToolError, with the line, for what is no YAML, no recipe, or no parameter of a step.
    """
    import yaml

    name = "recipe" if path == "-" else path
    root = documents.read(path if path == "-" else _located(path), name)
    models: dict[str, str] = {}
    if isinstance(root, yaml.MappingNode):
        parts = documents.entries(root)
        for key, (at, _) in parts.items():
            if key not in ("models", "steps"):
                raise ToolError(f"{place(at)}: a recipe has no {key!r}", key, nearest(key, ["models", "steps"]))
        if "models" in parts:
            given = plain(parts["models"][1])
            if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
                raise ToolError(f"{place(parts['models'][1])}: models are NAME: FILE")
            models = {k: str(Path(path).parent / v) for k, v in given.items()}
        root = parts["steps"][1] if "steps" in parts else None
    if not isinstance(root, yaml.SequenceNode) or not root.value:
        raise ToolError(f"{name}: a recipe is a list of steps, each a verb with its parameters", name)
    return models, [_step(name, node) for node in root.value]


def _located(path: str) -> Path:
    """A file, or a recipe that the package has, by its name."""
    if path == "-" or Path(path).exists() or Path(path).parent.name:
        return Path(path)
    own = OWN / Path(path).with_suffix(".yaml").name
    if not own.exists():
        known = [p.stem for p in OWN.glob("*.yaml")]
        raise ToolError(f"{path}: no such file, nor a recipe of the package", path, nearest(path, known))
    return own


def _step(name: str, node: Any) -> Step:
    import yaml

    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        verb, body = node.value, None
    elif isinstance(node, yaml.MappingNode) and len(node.value) == 1:
        verb, body = word(node.value[0][0]), node.value[0][1]
    else:
        raise ToolError(f"{name}:{line}: a step is one verb and its parameters")
    if isinstance(body, yaml.ScalarNode) and body.tag.endswith(":null"):
        body = None
    if body is not None and not isinstance(body, yaml.MappingNode):
        raise ToolError(f"{name}:{line}: the parameters of {verb!r} are a mapping, NAME: VALUE")
    pairs = body.value if body is not None else []
    step = Step(verb, line, {word(k): plain(v) for k, v in pairs}, {word(k): k.start_mark.line + 1 for k, _ in pairs})
    _check(name, step)
    return step


def _check(name: str, step: Step) -> None:
    try:
        known, required = _parameters(step.verb)
    except ToolError as error:
        raise ToolError(f"{name}:{step.line}: {error.what}", error.name, error.candidates) from error
    for key, value in step.values.items():
        where = f"{name}:{step.lines[key]}: {step.verb}"
        if key not in known:
            if step.verb == "part":
                continue  # the options of a part are its own, and checked by it
            raise ToolError(f"{where} has no parameter {key!r}", key, nearest(key, known))
        found = _type(known[key])
        if found and not (isinstance(value, found[1]) and (bool in found[1] or not isinstance(value, bool))):
            raise ToolError(f"{where}: {key} is {found[2]}, not {value!r}", key)
    for key in required:
        if key not in step.values:
            raise ToolError(f"{name}:{step.line}: {step.verb} needs {key!r}", key)


def _type(annotation: str) -> tuple[str, tuple[type, ...], str, dict[str, str]] | None:
    return next((t for t in _TYPES if re.fullmatch(t[0], annotation.removesuffix(" | None"))), None)


def _parameters(verb: str) -> tuple[dict[str, str], list[str]]:
    """Parameter -> annotation, and the parameters without a default, of a verb in a recipe."""
    if verb == "part":
        return {"code": "str", "as": "str"}, ["code"]
    if verb not in VERBS or not VERBS[verb].edits:
        edits = [v for v, row in VERBS.items() if row.edits] + ["part"]
        raise ToolError(f"there is no step {verb!r}", verb, nearest(verb, edits))
    found = inspect.signature(VERBS[verb].function()).parameters
    own = {k: p for k, p in found.items() if not _OURS.fullmatch(k)}
    known = {k: str(p.annotation) for k, p in own.items()} | _STEP
    if "onnx_graphs" in found:
        known |= {"models": "list[str]"}
    required = [k for k, p in own.items() if p.default is p.empty]
    return known, required + (["models"] if "onnx_graphs" in found else [])


def schema() -> dict[str, object]:
    """The JSON schema of recipes."""
    steps = []
    for verb in [*(v for v, row in VERBS.items() if row.edits), "part"]:
        known, required = _parameters(verb)
        fields = {k: (found[3] if (found := _type(a)) else {}) for k, a in known.items()}
        closed = {"additionalProperties": verb == "part"}
        body = {"type": "object", "properties": fields, "required": required, **closed}
        steps.append({"type": "object", "properties": {verb: body}, "required": [verb], "additionalProperties": False})
    listed = {"type": "array", "items": {"anyOf": steps}, "minItems": 1}
    models = {"type": "object", "additionalProperties": {"type": "string"}}
    whole = {"type": "object", "properties": {"models": models, "steps": listed}, "required": ["steps"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "recipe", "anyOf": [listed, whole]}


# --- running ---------------------------------------------------------------------------------------------------------


@edit("* OUTPUT QUIET")
def run(
    job: Edit,
    recipe: str,
    input_onnx_file_path: str = "",
    onnx_graph: onnx.ModelProto | None = None,
    *,
    models: Sequence[str] = (),
) -> onnx.ModelProto:
    """Run a recipe file; returns what its last step made."""
    files, steps = read(recipe)
    if input_onnx_file_path:
        files["model"] = input_onnx_file_path
    for text in models:
        name, equals, path = text.partition("=")
        if not equals:
            raise ToolError(f"--with: {text!r} is not NAME=FILE", text)
        files[name] = path
    held = {name: read_model(path) for name, path in files.items()}
    if onnx_graph is not None:
        held["model"] = onnx_graph
    result = None
    for number, step in enumerate(steps, 1):
        text = ", ".join(f"{k}={v}" for k, v in step.values.items())
        job.log.info(f"step {number}, line {step.line}: {step.verb} {text}".rstrip())
        try:
            made = _run(step, held, job)
        except ToolError as error:
            label = f"{recipe}:{step.line}: {error.tool or step.verb}"
            raise ToolError(f"{label}: {error.what}", error.name, error.candidates, "run") from error
        if made is not None:
            result = held[step.values.get("as", step.values.get("on", "model"))] = made
    if result is None:
        raise ToolError(f"{recipe}: no step made a model", recipe)
    job.model = result
    return job.model


def _run(step: Step, held: dict[str, onnx.ModelProto], job: Edit) -> onnx.ModelProto | None:
    own = {k: v for k, v in step.values.items() if k not in ("on", "as", "models")}
    if step.verb == "part":
        from .parts import make

        return make(own.pop("code"), **own)
    row = VERBS[step.verb]
    function = row.function()
    accepted = inspect.signature(function).parameters
    given: dict[str, object] = {"non_verbose": job.log.quiet, "check": job.checks, "missing_ok": job.missing_ok}
    if "onnx_graphs" in accepted:
        given["onnx_graphs"] = [_model(n, held) for n in step.values["models"]]
    elif "onnx_graph" in accepted:
        given["onnx_graph"] = _model(step.values.get("on", "model"), held)
    made = function(**row.defaults | {k: v for k, v in given.items() if k in accepted} | own)
    made = made[0] if isinstance(made, tuple) else made
    return made if isinstance(made, onnx.ModelProto) else None


def _model(name: str, held: dict[str, onnx.ModelProto]) -> onnx.ModelProto:
    if name not in held:
        if name == "model":
            raise ToolError("the recipe needs a model: give its file after the recipe", name)
        raise ToolError(f"there is no model called {name!r} (--with NAME=FILE)", name, nearest(name, held))
    return held[name]


def run_or_schema(schema_only: bool = False, recipe: str = "", **values: Any) -> None:
    """What the command line calls; ToolError where something is left out."""
    if schema_only:
        print(json.dumps(schema(), indent=2))
    elif not recipe:
        raise ToolError("no recipe: give its file, or --schema")
    else:
        if not values.get("output_onnx_file_path") and not values.get("dry_run"):
            raise ToolError("-o: say where the result goes, or --dry-run")
        run(recipe, **values)


main = command(
    run_or_schema,
    option("recipe [RECIPE]", 'the recipe; "-": standard input'),
    option("input_onnx_file_path [MODEL]", 'the model; "-": standard input'),
    parameter("onnx_graph", "the model in memory; the path is then not looked at"),
    option("-o -of --output_onnx_file_path FILE", 'the result; "-": standard output'),
    option("--with NAME=FILE...", "more models by name", dest="models", form="['name=file']"),
    flag("--schema", "print the JSON schema of recipes", dest="schema_only"),
    *COMMON,
)
