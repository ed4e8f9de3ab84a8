"""Ready-made pieces of ONNX: list them, show one, write it with your sizes, or attach it to a model.

Sizes are options, the defaults are those of the article's files; `onnx-tune parts show Z004` explains them.

examples:
  onnx-tune parts list
  onnx-tune parts write Z004 --boxes 8400 --classes 80 --iou 0.7 --max 100 -of nms.onnx
  onnx-tune parts attach Z001 --to classifier.onnx --input image -of with_normalisation.onnx
  onnx-tune parts attach Z004 --to detector.onnx --boxes 'out[:,:,:4]' --scores 'out[:,:,5:]' -of with_nms.onnx
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from onnx import ModelProto

from ...commands import Command, Log, Option, Parser, guarded, option
from ...commands.parser import fill, width
from ...errors import unknown
from ...model.read import read_model
from ...model.types import type_text
from .. import recipe
from .._edit import Edit, edit
from .._options import COMMON, OUTPUT, output
from .._values import literal
from . import OPTIONS, PARTS, Part
from ._attach import BEHIND, FRONT, attach

#: Options whose flag is shorter than the keyword.
FLAGS = {"max_boxes": "max", "box_format": "format"}


def main(argv: Sequence[str] | None = None, prog: str = "onnx-tune parts") -> int:
    """The command line; the exit code."""
    about, _, examples = inspect.cleandoc(__doc__ or "").partition("\nexamples:")
    parser = Parser(prog=prog, description=about, epilog=f"examples:{examples}")
    parser.add_argument("action", choices=sorted(ACTIONS), help="what to do")
    parser.add_argument("part", nargs="?", default="", help="its number: Z001 to Z010")
    words = list(sys.argv[1:] if argv is None else argv)
    count = 2 if len(words) > 1 and not words[1].startswith("-") else 1  # the action and the part; the rest is theirs
    if count == 1 and {"-h", "--help"} & set(words):
        words, count = ["-h"], 1
    found = parser.parse_args(words[:count])
    if not found.part and found.action != "list":
        parser.error(f"which part? {prog} {found.action} Z001 to Z010")
    action, title = ACTIONS[found.action], f"{prog} {found.action} {found.part}"
    return guarded(title.strip(), lambda: action(found.part, words[count:], title))


def _part(code: str) -> Part:
    by_name = {p.name: p for p in PARTS.values()}
    if code.upper() not in PARTS and code not in by_name:
        raise unknown("parts", "part", code, [*PARTS, *by_name])
    return PARTS.get(code.upper()) or by_name[code]


def _list(code: str, rest: Sequence[str], prog: str) -> None:
    """Every part in a line; the recipes that use them."""
    log = Log()
    for row in PARTS.values():
        text = f"{row.code}  {row.name:<28}opset {row.since}+  {row.summary}"
        log.plain(textwrap.fill(text, width(), subsequent_indent=" " * 6))
    for path in sorted(recipe.OWN.glob("*.yaml")):
        log.plain(f"recipe  {path.stem}")
    log.plain(fill("All convert to TFLite.  A recipe runs by its name: onnx-tune run NAME MODEL -o FILE.", width()))


def _show(code: str, rest: Sequence[str], prog: str) -> None:
    """What a part is, its options, its inputs and outputs."""
    part, log = _part(code), Log()
    model = part.make()
    about = (inspect.getdoc(part.function) or "").replace("``", "").strip()
    rows = [f"  {row.flags[0]:<12}{row.help}" for row in _rows(part, part.options)]
    facts: list[str] = []
    _tell(model, lambda text: facts.append(f"  {text}"))
    facts.append(f"  operators: {', '.join(n.op_type for n in model.graph.node)}")
    if ports := _ports(part):
        facts.append("  attach: --to MODEL " + " ".join(f"--{p} {'NAME' if p == 'input' else 'TENSOR'}" for p in ports))
    said = [f"{part.code} {part.name}", about, "\n".join(rows), "\n".join(facts)]
    log.plain("\n\n".join(fill(text, width()) for text in said))


def _tell(model: ModelProto, say: Callable[[str], None]) -> None:
    for kind, ends in (("input", model.graph.input), ("output", model.graph.output)):
        for end in ends:
            say(f"{kind} {end.name}: {type_text(end.type)}")


def _ports(part: Part) -> tuple[str, ...]:
    return ("input",) if part.code in FRONT else tuple(BEHIND.get(part.code, ()))


def _rows(part: Part, names: Iterable[str]) -> list[Option]:
    """The options of a part; ``fixed`` may stand without a value."""
    rows = []
    for name in names:
        default = part.options[name]
        flag = f"--{FLAGS.get(name, name)} {'[VALUE]' if isinstance(default, bool) else 'VALUE'}"
        text = f"{OPTIONS[name]} (default: {default})"
        rows.append(option(flag, text, dest=name, const="true" if "[" in flag else None, convert=literal))
    return rows


def _write(code: str, rest: Sequence[str], prog: str) -> int:
    """The part as a file."""
    part = _part(code)

    @edit("* OUTPUT QUIET")
    def write(job: Edit, options: Mapping[str, Any]) -> None:
        job.model = part.make(**options)
        job.log.info(f"{len(job.model.graph.node)} nodes")

    return _run(part, write, part.options, [output(f"{part.code}_{part.name}.onnx"), *COMMON])(rest, prog)


def _attach(code: str, rest: Sequence[str], prog: str) -> int:
    """The model with the part in front of it or behind it."""
    part = _part(code)
    ports = _ports(part)

    @edit("* OUTPUT QUIET")
    def attached(
        job: Edit, options: Mapping[str, Any], *, to: str, input: str = "", boxes: str = "", scores: str = ""
    ) -> None:
        given = {"input": input, "boxes": boxes, "scores": scores}
        job.model = attach(part.code, read_model(to), {n: t for n, t in given.items() if t}, **options)
        _tell(job.model, job.log.info)

    sized = {"batch", "boxes", "classes", "height", "width", *ports}  # these the model says
    rows = [
        option("--to MODEL", "the model", required=True),
        *(option(f"--{port} TENSOR", "a tensor, or a slice of one: out[:,:,:4]") for port in ports),
        OUTPUT,
        *COMMON,
    ]
    return _run(part, attached, [n for n in part.options if n not in sized], rows)(rest, prog)


def _run(part: Part, function: Callable[..., Any], names: Iterable[str], more: Sequence[Option]) -> Command:
    """The command of one part: its own options go together into the parameter ``options``."""
    own = _rows(part, names)

    def call(**values: Any) -> None:
        options = {row.dest: values.pop(row.dest) for row in own if row.dest in values}
        function(options, **values)

    return Command(call, [*own, *more], None, doc=inspect.getdoc(part.function))


ACTIONS: dict[str, Callable[..., Any]] = {"list": _list, "show": _show, "write": _write, "attach": _attach}
