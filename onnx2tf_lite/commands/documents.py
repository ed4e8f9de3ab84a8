"""YAML that people write: values with the lines they stand on, so that a mistake can be shown to its author."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ToolError

if TYPE_CHECKING:
    import yaml


def read(path: str | Path, name: str) -> yaml.Node | None:
    """The document in a file ("-": standard input), called ``name`` in errors.

    :raises ToolError: with the line, for what cannot be read or is no YAML.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes())
        loader.name = name
        return loader.get_single_node()
    except OSError as error:
        raise ToolError(f"{name}: cannot be read: {error.strerror}", name) from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        said = str(problem or error).splitlines()[0]
        raise ToolError(f"{name}{f':{mark.line + 1}' if mark else ''}: not YAML: {said}", name) from error


def place(node: yaml.Node) -> str:
    """``plan.yaml:12``."""
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"


def entries(node: yaml.Node) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """The keys of a mapping, each with its own node and that of its value.

    :raises ToolError: for anything else, and for keys that are no words.
    """
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise ToolError(f"{place(node)}: this is a mapping, NAME: VALUE")
    return {word(key): (key, value) for key, value in node.value}


def word(key: yaml.Node) -> str:
    """The text of a key.

    :raises ToolError: for a list or a mapping, which YAML allows there.
    """
    if isinstance(key.value, str):
        return key.value
    raise ToolError(f"{place(key)}: a key is one word, not a list or a mapping")


def plain(node: yaml.Node) -> Any:
    """A value as lists, dicts, texts and numbers; keys are always text (`on` is no boolean).

    :raises ToolError: for a value that is none of these, or no value (a date with a month 99).
    """
    import yaml

    if isinstance(node, yaml.MappingNode):
        return {word(k): plain(v) for k, v in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(v) for v in node.value]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        raise ToolError(f"{place(node)}: {getattr(error, 'problem', None) or error}") from error
    finally:
        loader.dispose()
