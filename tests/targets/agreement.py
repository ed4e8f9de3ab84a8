"""Tables against tools: what a table says of a file of one operator, and what the device's own tool does with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from onnx2tf_lite.child import DiedError, Limits, call
from onnx2tf_lite.targets.proof import litert
from onnx2tf_lite.targets.verdict import IMPOSSIBLE, judge
from onnx2tf_lite.validation.files.flatfile import FlatFile
from tests.targets import single


def runs(file: FlatFile) -> bool:
    """True where LiteRT itself runs the file: the others mean nothing."""
    try:
        call(lambda: litert.run(bytes(file.data), litert.operands(file, 0.0), "optimised"), limits=Limits(60, 1 << 30))
    except (RuntimeError, ValueError, DiedError):
        return False
    return True


def disagreement(name: str, case: str, form: str) -> str:
    """Empty where table and tool say the same, and for a file that LiteRT itself does not load."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.tflite")
        path.write_bytes(single.content(case, form))
        file = FlatFile(path)
        table = judge(name, file, prove=False)
        tool = judge(name, file)
        if (tool.verdicts != table.verdicts or tool.failed) and not runs(file):
            return ""
    if tool.failed:
        return "" if table.count(IMPOSSIBLE) else f"the table has it, the tool fails: {tool.failed}"
    found = [(a, b) for a, b in zip(table.verdicts, tool.verdicts, strict=True) if a.status != b.status]
    return "; ".join(f"{a.operator}: table '{a.status}', tool '{b.status}' ({a.why or b.why})" for a, b in found)
