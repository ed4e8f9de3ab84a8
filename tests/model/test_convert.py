# ruff: noqa: E501 (tables: a case is a line)
"""Other opsets: every rule of the upgrade pass at every opset on the way, and back down again."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnx2tf_lite.errors import ToolError
from onnx2tf_lite.model.convert import convert
from onnx2tf_lite.model.downgrade import RULES as DOWN
from onnx2tf_lite.model.opsets import INPUTS
from tests.passes.conftest import feeds, model, same
from tests.passes.test_upgrade import CASES, Case, expected, run

#: Where forms changed; nothing that runs today has a kernel for what was before 7.
OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 21, 23)
OTHER_TRUTH = {"dropout-10 mask": "ONNX Runtime's Dropout-10 gives a mask of zeros, its Dropout-12 one of ones"}
CHECKED = [c for c in CASES if c.name not in OTHER_TRUTH]


def to(proto: ModelProto, opset: int) -> ModelProto:
    """The model in another opset; onnx's checker agrees."""
    made = ModelProto()
    made.CopyFrom(proto)
    convert(made, opset)
    made.opset_import[0].version = opset
    made.ir_version = max(made.ir_version, 10 if opset > 20 else 8)
    onnx.checker.check_model(made, full_check=True)
    return made


@pytest.mark.parametrize("case", CHECKED, ids=lambda c: c.name)
def test_up_to_every_opset_and_down_again(case: Case) -> None:
    proto = model(case.text, case.opset, 8, **case.constants)
    given, above = feeds(proto), [o for o in OPSETS if o > case.opset]
    wanted = expected(case, proto, given)
    for opset in above:
        if not ("groupnorm" in case.name and opset < 21):  # until then the checker refuses it, whoever writes it
            same(wanted, run(to(proto, opset), given))
    top = to(proto, 21) if case.opset < 21 else proto
    for opset in [o for o in OPSETS if max(case.opset, 9) <= o < 21]:
        same(wanted, run(to(top, opset), given))


PAD = "(float[2,3,4] x) => (float[a,b,c] y) { y = Pad"
RESIZE = "(float[1,1,4,6] x) => (float[1,1,h,w] y) { y = Resize"
I = np.int64  # noqa: E741
PARTS = [
    Case("pad: last axis", 18, f"{PAD} (x, p, v, a) }}", {"p": np.array([1, 2]), "v": np.float32(3), "a": np.array([-1])}),
    Case("pad: two axes, reflected", 18, f'{PAD} <mode = "reflect"> (x, p, , a) }}', {"p": np.array([1, 1, 2, 0]), "a": np.array([2, 0])}),
    Case("resize: scales", 18, f'{RESIZE} <axes = [3], mode = "linear"> (x, , s) }}', {"s": np.array([1.5], np.float32)}),
    Case("resize: sizes", 18, f'{RESIZE} <axes = [3, 2], mode = "nearest"> (x, , , z) }}', {"z": np.array([9, 2])}),
    Case("resize: a region", 18, f'{RESIZE} <axes = [2, 3], mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"> (x, r, , z) }}',
         {"r": np.array([0.1, 0.2, 0.8, 0.9], np.float32), "z": np.array([5, 5])}),
    Case("resize: sizes, extents open", 18, '(float[1,1,h,w] x) => (float[1,1,p,q] y) { y = Resize <axes = [3], mode = "linear"> (x, , , z) }', {"z": np.array([5])}),
]  # fmt: skip


@pytest.mark.parametrize("case", PARTS, ids=lambda c: c.name)
@pytest.mark.parametrize("opset", [17, 13, 11])
def test_lists_of_some_axes_are_written_for_all(case: Case, opset: int) -> None:
    proto = model(case.text, case.opset, 8, **case.constants)
    given = feeds(proto, h=4, w=6)
    same(run(proto, given), run(to(proto, opset), given))


def test_an_axis_from_the_end_is_the_same_axis() -> None:
    """Older versions of ONNX Runtime read memory that is not theirs where Resize has such an axis."""
    (case,) = [c for c in PARTS if c.name == "resize: sizes"]
    proto, behind = (
        model(text, 18, 8, **case.constants) for text in (case.text, case.text.replace("[3, 2]", "[-1, 2]"))
    )
    given = feeds(proto)
    same(run(proto, given), run(to(behind, 17), given))


def test_pads_that_only_run_time_knows() -> None:
    proto = model("(float[2,3] x, int64[2] p) => (float[a,b] y) { y = Pad (x, p, , a) }", 18, 8, a=np.array([1]))
    given = {"x": np.ones((2, 3), np.float32), "p": np.array([1, 2])}
    after = to(proto, 13)
    assert [n.op_type for n in after.graph.node] == ["Concat", "Gather", "Pad"]
    same(run(proto, given), run(after, given))
    with pytest.raises(ToolError, match=r"Pad .*its input 1 is an attribute there, and is only known at run time"):
        to(proto, 9)


HALF = np.array([1, 1, 0.5, 0.5], np.float32)
REFUSED: list[Any] = [
    (f'{RESIZE} <coordinate_transformation_mode = "half_pixel_symmetric", mode = "linear"> (x, , s) }}', 19, 18, "half_pixel_symmetric", {"s": HALF}),
    (f'{RESIZE} <keep_aspect_ratio_policy = "not_larger", mode = "linear"> (x, , , z) }}', 18, 17, "keep_aspect_ratio_policy", {"z": np.array([1, 1, 2, 2])}),
    (f'{RESIZE} <mode = "nearest"> (x, , s) }}', 13, 10, "before 11 coordinates", {"s": HALF}),
    (f'{RESIZE} <mode = "linear", coordinate_transformation_mode = "asymmetric"> (x, , s) }}', 13, 9, "does not shrink", {"s": HALF}),
    (f'{PAD} <mode = "wrap"> (x, p) }}', 19, 18, "no mode 'wrap'", {"p": np.ones(6, I)}),
    ("(float[2,3] x, int64[1] a) => (float[a,b] y) { y = Pad (x, p, , a) }", 18, 17, "the value of its axes is not known", {"p": np.array([1, 1])}),
    ("(float[1,2,5,5] x, float[1,4] r, int64[1] i) => (float[1,2,1,1] y) { y = RoiAlign (x, r, i) }", 16, 15, "half a pixel", {}),
    ('(float[3] x, int64[1] i, float[1] u) => (float[3] y) { y = ScatterElements <reduction = "max"> (x, i, u) }', 18, 17, "no reduction 'max'", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "old", "new", "what", "constants"), REFUSED)
def test_what_an_older_opset_cannot_say(text: str, old: int, new: int, what: str, constants: dict[str, Any]) -> None:
    with pytest.raises(ToolError, match=f"opset {old} cannot become {new}: .*{what}"):
        to(model(text, old, 8, **constants), new)


def test_both_directions_know_the_same_slots() -> None:
    """The table of moved attributes against the schemas: an input of one version, an attribute of the version before."""
    for op, (since, slots) in INPUTS.items():
        new, old = (onnx.defs.get_schema(op, version, "") for version in (since, since - 1))
        assert new.since_version == since, op
        for slot, name in slots.items():
            assert new.max_input > slot and old.max_input <= slot, (op, slot)
            assert not name or (name in old.attributes and name not in new.attributes), (op, name)


def test_every_downward_rule_is_of_an_opset_that_changed_the_operator() -> None:
    for op, rules in DOWN.items():
        for since, _ in rules:
            assert onnx.defs.get_schema(op, since, "").since_version == since, (op, since)
