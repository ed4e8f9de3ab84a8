"""Generate a model of one operator, checked against ONNX's definition of it.

Attributes get the type that the operator's definition asks for; outputs that are not declared are inferred, declared
ones compared.  An optional input is left out with "-".

examples:
  sog4onnx --op_type GlobalLpPool --opset 11 --op_name GlobalLpPool1 --input_variables X float32 [1,3,5,5] \\
    --output_variables Y float32 [1,3,1,1] --attributes p int64 2 --output_onnx_file_path GlobalLpPool_11_sog.onnx
  sog4onnx -ot Gemm -os 17 -on gemm -iv a float32 [2,3] -iv b float32 [3,4] -a alpha float32 0.5 -of gemm.onnx
  sog4onnx -ot Conv -os 17 -on conv -iv x -iv w -a strides [2,2] -of conv.onnx
  sog4onnx -ot Clip -os 17 -on relu6 -iv x float32 [N,3] -c low float32 0 -c high float32 6 -of relu6.onnx
  sog4onnx --list                                                  every operator and its opsets
  sog4onnx --list Resize                                           its inputs, outputs, attributes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..commands import command, option, repeated
from ..errors import ToolError, nearest
from ..model.infer import infer
from ..model.lazy import onnx
from ..model.schema import operators, schema
from ..model.types import contradict, dtype, dtype_word, type_text, types
from ._edit import Edit, edit
from ._options import ATTRIBUTE_FORM, COMMON, CONSTANT_FORM, CONSTANTS, output
from ._schema import make_node
from ._values import Value, Values, given_tensor, shape, value_info

#: Usual ranks of inputs by the name that ONNX's definition gives them; others are images.
RECURRENT = {"X": 3, "W": 3, "R": 3, "B": 2, "initial_h": 3, "initial_c": 3, "P": 2, "sequence_lens": 1}
MATRICES = ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul")
_RANKS = {
    0: "depth min max ratio training_mode constant_value start limit delta axis x_scale x_zero_point "
    "y_scale y_zero_point",
    1: "Scale scale bias mean var input_mean input_var axes starts ends steps shape repeats pads roi scales "
    "sizes split K indices max_output_boxes_per_class values iou_threshold score_threshold",
    3: "slope boxes scores",
}
RANKS = {name: rank for rank, names in _RANKS.items() for name in names.split()}

Variables = Values | Iterable[tuple[str, Value]]


@edit("* OUTPUT QUIET")
def generate(
    job: Edit,
    op_type: str = "",
    opset: int = 0,
    op_name: str = "",
    ir_version: int = 9,
    input_variables: Variables | None = None,
    output_variables: Variables | None = None,
    attributes: Values | None = None,
    *,
    constants: Values | None = None,
    domain: str = "",
) -> onnx.ModelProto:
    """Make a model of one node; constants are inputs behind the others, unless named among the variables."""
    if not (op_type and opset and op_name):
        raise ToolError("an operator needs a type, an opset and a name: -ot, -os, -on")
    held = {n: given_tensor(n, v) for n, v in (constants or {}).items()}
    outs = _pairs(output_variables)
    ins = _said(_pairs(input_variables), held, lambda i, n: usual(op_type, i, n, opset, domain))
    names = [n for n, _ in ins] + [n for n in held if n not in dict(ins)]
    results = [n for n, _ in outs] or [f"{op_name}_output"]
    plugin = op_type.endswith("_TRT")  # of TensorRT, in ONNX's own domain and unknown to it
    node = make_node(op_type, names, results, op_name, dict(attributes or {}), opset, "plugin" if plugin else domain)
    node.domain = domain
    if plugin or not operators(domain):
        job.log.warning(f"ONNX has no definition of {op_type}: its inputs and attributes were not checked")
    infos = [value_info(n, s) for n, s in dict(ins).items() if n and n not in held]
    imports = [onnx.helper.make_opsetid(domain, opset)]
    graph = onnx.helper.make_graph([node], op_name, infos, [], list(held.values()))
    job.model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=_version(job, ir_version, imports))
    _add_outputs(job.model, results, dict(outs))
    for info in (*graph.input, *job.model.graph.output):
        job.log.info(f"{info.name}: {type_text(info.type)}")
    if plugin:
        job.unchecked = f"ONNX has no {op_type}"
    job.test(lambda: "The model is checked!")
    return job.model


def _said(
    ins: Sequence[tuple[str, Value]], held: Mapping[str, object], guess: Callable[[int, str], Value]
) -> list[tuple[str, Value]]:
    """Inputs with what is said of them, or else guessed."""
    return [(n, s if s or not n or n in held else guess(i, n)) for i, (n, s) in enumerate(ins)]


def _version(job: Edit, asked: int, imports: Sequence[onnx.OperatorSetIdProto]) -> int:
    """The IR version asked for, or what the opset needs."""
    oldest = int(onnx.helper.find_min_ir_version_for(list(imports), ignore_unknown=True))
    if asked > onnx.IR_VERSION:
        raise ToolError(f"-ir: there is no IR version {asked}: the newest is {onnx.IR_VERSION}")
    if asked < oldest:
        job.log.info(f"IR version {oldest}: opset {imports[0].version} needs it")
    return max(asked, oldest)


def _pairs(variables: Variables | None) -> list[tuple[str, Value]]:
    found = list(variables.items()) if isinstance(variables, Mapping) else list(variables or ())
    return [("" if n in ("", "-") else n, s) for n, s in found]


def usual(op: str, place: int, name: str, opset: int, domain: str = "") -> list[Value]:
    """[dtype, shape] of an input of which nothing is said but the name: float32 where the operator takes it, and the
    rank that this input usually has.  Raises ToolError where ONNX does not define the operator."""
    found = schema(op, opset, domain)
    if found is None or not found.inputs:
        raise ToolError(f"-iv: {name} needs a dtype and a shape", name)
    port = found.inputs[min(place, len(found.inputs) - 1)]
    takes = [w for w in ("float", "int64", "bool", "uint8") if f"tensor({w})" in port.types]
    if not takes:
        raise ToolError(f"-iv: {name} needs a dtype and a shape: {op} takes {port.type_str}", name)
    rank = RANKS.get(port.name, 1 if port.name == "B" and place > 1 else 2 if op in MATRICES else 4)
    if op in ("LSTM", "GRU", "RNN"):
        rank = RECURRENT[port.name]
    axes: list[int | str] = ["N", "C", "H", "W"] if rank == 4 else [f"{name}_{i}" for i in range(rank)]
    if port.name == "W" and rank == 4:  # a convolution's: what comes out is known only of a known window
        axes = ["C", "O", 3, 3] if op == "ConvTranspose" else ["O", "C", 3, 3]
    return [dtype_word(dtype(takes[0])), axes]


def _add_outputs(model: onnx.ModelProto, results: Iterable[str], declared: Values) -> None:
    """Declared outputs as they are said, unless inference contradicts; the others as inferred."""
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in results if n)

    inferred = types(infer(model).graph)
    for info in model.graph.output:
        said, known = declared.get(info.name), inferred.get(info.name)
        own = value_info(info.name, said).type if said is not None else known
        if own is None:
            raise ToolError(f"-ov: the type of {info.name} cannot be inferred: declare it", info.name)
        if what := contradict(own, known):
            raise ToolError(f"-ov: {info.name}: {what} (declared and inferred)", info.name)
        info.type.CopyFrom(own)


def listing(op: str = "") -> str:
    """Every operator with the opsets in which it changed, or one with its ends and attributes; ToolError for none."""
    known = operators()
    if not op:
        return "\n".join(f"{name:32} {', '.join(map(str, since))}" for name, since in known.items())
    if op not in known:
        raise ToolError(f"--list: there is no operator {op!r}", op, nearest(op, known))
    found = onnx.defs.get_schema(op)
    lines = [f"{op}, opsets {', '.join(map(str, known[op]))}"]
    for what, ports in (("input", found.inputs), ("output", found.outputs)):
        lines += [f"  {what:9} {p.name}: {p.type_str}{_option(p)}" for p in ports]
    for name, attribute in sorted(found.attributes.items()):
        default = attribute.default_value
        usual = f" = {onnx.helper.get_attribute_value(default)!r}" if default.ByteSize() else ""
        needed = " (required)" if attribute.required else ""
        lines.append(f"  attribute {name}: {str(attribute.type).rpartition('.')[2].lower()}{usual}{needed}")
    for constraint in found.type_constraints:
        words = ", ".join(sorted(constraint.allowed_type_strs))
        lines.append(f"  {constraint.type_param_str} = {words}")
    return "\n".join(lines)


def _option(port: onnx.defs.OpSchema.FormalParameter) -> str:
    return {"Optional": " (optional)", "Variadic": " (any number)"}.get(str(port.option).rpartition(".")[2], "")


def _run(list_operator: str | None = None, **values: Any) -> str:
    if list_operator is not None:
        return listing(list_operator)
    generate(**values)
    return ""


def _print(text: str) -> None:
    if text:
        print(text)


def _attributes(rows: Sequence[Sequence[str]]) -> dict[str, tuple[str, str]]:
    found = {}
    for row in rows:
        if len(row) not in (2, 3):
            raise ToolError(f"{' '.join(row)!r}: an attribute is NAME DTYPE VALUE or NAME VALUE")
        found[row[0]] = (row[-1], row[1] if len(row) == 3 else "")
    return found


def _variables(rows: Sequence[Sequence[str]]) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = []
    for row in rows:
        if len(row) not in (1, 3):
            raise ToolError(f"{' '.join(row)!r}: a variable is NAME DTYPE SHAPE, NAME alone, or - for none")
        found.append((row[0], [row[1], shape(row[2])] if len(row) == 3 else None))
    return found


_FORM = "{name: [dtype, shape]}, or pairs of these where a tensor is read twice"
main = command(
    _run,
    option("-ot --op_type OP", "operator"),
    option("-os --opset N", "opset of the operator's domain", type=int),
    option("-on --op_name NAME", "name of the node"),
    option("-ir --ir_version N", "IR version (default: 9, or what the opset needs)", type=int),
    repeated("-iv --input_variables NAME DTYPE SHAPE...", "an input; - leaves one out", convert=_variables, form=_FORM),
    repeated("-ov --output_variables NAME DTYPE SHAPE...", "an output", convert=_variables, form=_FORM),
    repeated("-a --attributes NAME DTYPE VALUE...", "an attribute", convert=_attributes, form=ATTRIBUTE_FORM),
    repeated("-c --constants NAME DTYPE VALUE", "a constant input", convert=CONSTANTS, form=CONSTANT_FORM),
    option("--domain NAME", "domain of the operator (default: ONNX's own)"),
    output(form="<op_type>.onnx", fallback=lambda values: f"{values.get('op_type', '')}.onnx"),
    option("--list [OP]", "print the operators, or one of them, and end", dest="list_operator", const=""),
    *COMMON,
    show=_print,
    explains=[generate],
)
