"""What is to be done: models, options, recipes; from the words of a command line or from a YAML file.

    models: [models/, "more/*.onnx"]         # files, folders, globs; also s3://..., gs://...
    options: {outputs: [float32], check: layers}   # keywords of onnx2tf_lite.convert, for all
    each:                                     # for the models whose names match; later entries win
      - match: "detector*"
        recipe: recipes/nms.yaml              # of `onnx-tune run`
        options: {batch_size: 1}
      - match: huge
        skip: true

Paths are those of the command line: relative to the folder that it is called in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ..aliases import ALIASES
from ..commands import documents
from ..commands.documents import place, plain
from ..errors import ConversionError, ToolError, nearest
from ..options import Options, resolve
from ..record import record
from .job import Job, Keywords
from .storage import find

if TYPE_CHECKING:
    import yaml

KEYS = ("models", "options", "recipe", "each")
ENTRY = ("match", "options", "recipe", "skip")
#: Bytes that a conversion takes: of its own, with TensorFlow, and for each byte of the model (measured with
#: benchmarks/memory.py: 2.0 above the imports, with the check).
OWN, WITH_TENSORFLOW, PER_BYTE = 400 << 20, 900 << 20, 3


@record
class Override:
    """What holds for the models whose names match a pattern; ``where`` it stands, for errors."""

    match: str = "*"
    options: Keywords = field(default_factory=dict)
    recipe: str = ""
    skip: bool = False
    where: str = ""


@record
class FleetPlan:
    """Models, as patterns, and the rules for them, of which later ones win; ``where`` patterns stand, for errors."""

    models: tuple[str, ...] = ()
    rules: tuple[Override, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str) -> FleetPlan:
        """From a YAML file.

        :raises ToolError: with the line, for what is no such plan.
        """
        root = documents.read(path, path)
        if root is None:
            raise ToolError(f"{path}: it is empty", path)
        parts = _known(root, KEYS)
        rules = [_rule({k: v for k, v in parts.items() if k not in ("models", "each")})]
        if "each" in parts:
            rules += [_rule(_known(entry, ENTRY), entry) for entry in _items(parts["each"])]
        models = _texts(parts["models"]) if "models" in parts else {}
        return cls(tuple(models), tuple(rules), models)

    def jobs(self, page: str, seconds: int, memory: int) -> list[Job]:
        """A job for every model; ``page`` and the limits ``seconds`` and ``memory`` (bytes) are the same for all.

        :raises ToolError: no model, a rule that matches none, options that cannot be read.
        """
        try:
            found = find(self.models)
        except ToolError as error:
            raise ToolError(_at(self.where.get(error.name, ""), error.what), error.name) from error
        for rule in self.rules:
            if not any(fnmatchcase(model.name, rule.match) for model in found):
                what = _at(rule.where, f"no model matches {rule.match!r}")
                raise ToolError(what, rule.match, nearest(rule.match, [m.name for m in found]))
        jobs = []
        for model in found:
            job: Job | None = Job(model.name, model.url, model.size, page=page, seconds=seconds, memory=memory)
            for rule in self.rules:
                if fnmatchcase(model.name, rule.match):
                    job = None if rule.skip or job is None else _ruled(job, rule)
            if job is not None:
                jobs.append(job)
        return jobs


def _at(where: str, what: str) -> str:
    return f"{where}: {what}" if where else what


def need(job: Job) -> int:
    """Bytes of memory that the conversion may take, by the size of the model."""
    wanted = understood(job.options, job.name).outputs
    heavy = wanted is None or any(kind not in ("float32", "float16") for kind in wanted)
    return OWN + heavy * WITH_TENSORFLOW + PER_BYTE * job.size


def understood(options: Keywords, where: str) -> Options:
    """The options, as `convert` reads them.

    :raises ToolError: where it would not.
    """
    try:
        return resolve(options)
    except (ConversionError, TypeError) as error:
        problems = error.problems if isinstance(error, ConversionError) else [error]
        raise ToolError(f"{where}: {'; '.join(map(str, problems))}") from error


def _ruled(job: Job, rule: Override) -> Job:
    return replace(job, options={**job.options, **rule.options}, recipe=rule.recipe or job.recipe)


def _known(node: yaml.Node, names: Iterable[str]) -> dict[str, yaml.Node]:
    """The values of a mapping that has these keys only."""
    entries = documents.entries(node)
    for name, (key, _) in entries.items():
        if name not in names:
            raise ToolError(f"{place(key)}: there is no {name!r} here", name, nearest(name, names))
    return {name: value for name, (_, value) in entries.items()}


def _rule(parts: Mapping[str, yaml.Node], entry: yaml.Node | None = None) -> Override:
    values = {name: plain(node) for name, node in parts.items()}
    forms = {"match": str, "recipe": str, "skip": bool, "options": dict}
    for name, value in values.items():
        if not isinstance(value, forms[name]):
            kinds = {str: "a text", bool: "true or false", dict: "a mapping, NAME: VALUE"}
            raise ToolError(f"{place(parts[name])}: {name} is {kinds[forms[name]]}, not {value!r}")
    if entry is not None and "match" not in values:
        raise ToolError(f"{place(entry)}: an entry says which names it is for: match: PATTERN")
    if "options" in values:
        _options(values["options"], parts["options"])
    if "recipe" in values and not Path(values["recipe"]).exists():
        raise ToolError(f"{place(parts['recipe'])}: there is no file {values['recipe']}")
    return Override(**values, where=place(parts["match"]) if "match" in parts else "")


def _options(values: Keywords, node: yaml.Node) -> None:
    """What `convert` does not take is an error at its own line, where it is one option's alone."""
    try:
        understood(values, place(node))
    except ToolError:
        for name, (key, _) in documents.entries(node).items():
            understood({name: values[name]}, place(key))
        raise


def _items(node: yaml.Node) -> list[yaml.Node]:
    import yaml

    if not isinstance(node, yaml.SequenceNode):
        raise ToolError(f"{place(node)}: this is a list")
    return list(node.value)


def _texts(node: yaml.Node) -> dict[str, str]:
    """Patterns, and where they stand."""
    import yaml

    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    words = {plain(part): place(part) for part in nodes if isinstance(part, yaml.ScalarNode)}
    if not nodes or len(words) < len(nodes) or not all(isinstance(word, str) for word in words):
        raise ToolError(f"{place(node)}: models are files, folders or globs, each once")
    return words


def schema() -> dict[str, object]:
    """The JSON schema of plans, for editors."""
    keywords = {row.keyword: {"description": row.option.help} for row in ALIASES.values() if row.sets}
    options = {"type": "object", "properties": keywords, "additionalProperties": False}
    rule = {"options": options, "recipe": {"type": "string", "description": "a recipe of onnx-tune run"}}
    text = {"type": "string"}
    names = {"match": {**text, "description": "names of models, with * and ?"}, "skip": {"type": "boolean"}}
    entry = {"type": "object", "properties": names | rule, "required": ["match"], "additionalProperties": False}
    models = {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "uniqueItems": True}]}
    known = {"models": models, "each": {"type": "array", "items": entry}, **rule}
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, "title": "plan", "type": "object", "properties": known, "additionalProperties": False}
