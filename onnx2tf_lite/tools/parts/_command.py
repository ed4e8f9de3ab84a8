"""Ready-made pieces of ONNX: list them, show one, write it with your sizes, or attach it to a model.

Sizes are options, the defaults are those of the article's files; `onnx-tune parts show Z004` lists them.

examples:
  onnx-tune parts list
  onnx-tune parts write Z004 --boxes 8400 --classes 80 --iou 0.7 --max 100 -of nms.onnx
  onnx-tune parts attach Z001 --to classifier.onnx --input image -of with_normalisation.onnx
  onnx-tune parts attach Z004 --to detector.onnx --boxes 'out[:,:,:4]' --scores 'out[:,:,5:]' -of with_nms.onnx
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...commands import Log, Parser, guarded
from ...errors import ToolError, unknown
from ...model.infer import check
from ...model.read import read_model
from ...model.types import type_text
from ...model.write import write_model
from .._literals import literal
from . import PARTS, Part
from ._attach import BEHIND, FRONT, attach

#: Options whose flag is shorter than the keyword.
FLAGS = {"max_boxes": "max", "box_format": "format"}
DOC = (__doc__ or "").strip()


def main(argv: Sequence[str] | None = None, prog: str = "onnx-tune parts") -> int:
    """The command line; the exit code."""
    about, _, examples = DOC.partition("\nexamples:")
    parser = Parser(prog=prog, description=about.strip(), epilog=f"examples:{examples}")
    parser.add_argument("action", choices=sorted(ACTIONS), help="what to do")
    parser.add_argument("part", nargs="?", default="", help="its number: Z001 to Z010")
    given, rest = _split(list(argv) if argv is not None else None)
    found = parser.parse_args(given)
    action, part = str(found.action), str(found.part)
    return guarded(prog, lambda: ACTIONS[action](part, rest, f"{prog} {action} {part}"))


def _split(argv: list[str] | None) -> tuple[list[str], list[str]]:
    """The action and the part, and what belongs to them."""
    import sys

    words = sys.argv[1:] if argv is None else argv
    count = 2 if len(words) > 1 and not words[1].startswith("-") else 1
    return words[:count], words[count:]


def _part(code: str) -> Part:
    if code.upper() in PARTS:
        return PARTS[code.upper()]
    by_name = next((p for p in PARTS.values() if p.name == code), None)
    if by_name is None:
        raise unknown("parts", "part", code, [*PARTS, *(p.name for p in PARTS.values())])
    return by_name


def _list(code: str, rest: Sequence[str], prog: str) -> None:
    """Every part in a line; the recipes that use them."""
    log = Log()
    for part in PARTS.values():
        log.plain(f"{part.code}  {part.name:<28}opset {part.since}+  converts to TFLite  {part.summary}")
    for path in sorted((Path(__file__).parent / "recipes").glob("*.yaml")):
        log.plain(f"recipe  {path}")


def _show(code: str, rest: Sequence[str], prog: str) -> None:
    """What a part is, its options, its inputs and outputs."""
    part, log = _part(code), Log()
    log.plain(f"{part.code} {part.name}\n\n{inspect.getdoc(part.function)}\n")
    for name, value in part.options.items():
        log.plain(f"  --{FLAGS.get(name, name)}  (default: {value})")
    model = part.make()
    log.plain("")
    for kind, ends in (("input", model.graph.input), ("output", model.graph.output)):
        for end in ends:
            log.plain(f"  {kind} {end.name}: {type_text(end.type)}")
    log.plain(f"  operators: {', '.join(n.op_type for n in model.graph.node)}")
    if part.code in FRONT:
        log.plain("  attach: --to MODEL --input NAME")
    if part.code in BEHIND:
        log.plain("  attach: --to MODEL " + " ".join(f"--{port} TENSOR" for port in BEHIND[part.code]))


def _write(code: str, rest: Sequence[str], prog: str) -> None:
    """The part as a file."""
    part = _part(code)
    parser = _parser(part, prog, part.options)
    parser.add_argument("-of", "--output_onnx_file_path", default=f"{part.code}_{part.name}.onnx", metavar="FILE")
    found = vars(parser.parse_args(rest))
    log, path = Log(found.pop("non_verbose"), found["output_onnx_file_path"]), found.pop("output_onnx_file_path")
    try:
        model = part.make(**found)
    except (ValueError, TypeError) as error:
        raise ToolError(f"{part.code}: {error}", part.code) from error
    check(model, lambda: None, log.warning)
    write_model(model, path, note=log.info)
    log.info(f"wrote {path}: {len(model.graph.node)} nodes")


def _attach(code: str, rest: Sequence[str], prog: str) -> None:
    """The model with the part in front of it or behind it."""
    part = _part(code)
    ports = ("input",) if part.code in FRONT else tuple(BEHIND.get(part.code, ()))
    sized = {"batch", "boxes", "classes", "height", "width", *ports}  # these the model says
    parser = _parser(part, prog, [name for name in part.options if name not in sized])
    parser.add_argument("--to", required=True, metavar="MODEL", help="the model")
    for port in ports:
        parser.add_argument(f"--{port}", metavar="TENSOR", help="a tensor, or a slice of one: out[:,:,:4]")
    parser.add_argument("-of", "--output_onnx_file_path", required=True, metavar="FILE")
    found = vars(parser.parse_args(rest))
    log, path = Log(found.pop("non_verbose"), found["output_onnx_file_path"]), found.pop("output_onnx_file_path")
    given = {port: value for port in ports if (value := found.pop(port)) is not None}
    model = attach(part.code, read_model(found.pop("to")), given, **found)
    check(model, lambda: None, log.warning)
    write_model(model, path, note=log.info)
    ends = [f"{kind} {v.name}: {type_text(v.type)}" for kind, side in (("input", model.graph.input),
            ("output", model.graph.output)) for v in side]  # fmt: skip
    log.info("; ".join([f"wrote {path}", *ends]))


def _parser(part: Part, prog: str, options: Any) -> Parser:
    import argparse

    parser = Parser(prog=prog, description=inspect.getdoc(part.function), argument_default=argparse.SUPPRESS)
    for name in options:
        shown = FLAGS.get(name, name)
        parser.add_argument(
            f"--{shown}", dest=name, type=literal, metavar="VALUE", help=f"default: {part.options[name]}"
        )
    parser.add_argument("-n", "--non_verbose", action="store_true", default=False, help="no INFO lines")
    return parser


ACTIONS: dict[str, Callable[[str, Sequence[str], str], None]] = {
    "list": _list,
    "show": _show,
    "write": _write,
    "attach": _attach,
}
