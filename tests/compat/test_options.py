"""Every option of onnx2tf does what it is judged to do, and the page says what that is."""

from __future__ import annotations

import pytest

from onnx2tf_lite import ConversionError, cli
from onnx2tf_lite.aliases import ALIASES
from onnx2tf_lite.options import resolve

from .known import KNOWN, Known
from .table import PAGE, filled, verdict

ALLOWED = {"M": ("works", "accepted"), "N": ("works", "accepted"), "O": ("accepted",), "X": ("refused",)}
#: Spellings that tutorials still have, and what they became.
HISTORIC = {
    "-qcind": "custom_input_op_name_np_data_path",
    "-cid": "custom_input_op_name_np_data_path",
    "-ioqd": "input_output_quant_dtype",
    "-nodafc": "number_of_dimensions_after_flextranspose_compression",
    "-asmmb": "auto_split_max_size_mb",
    **{f"-r{short}": f"replace_{name}_to_pseudo_operators" for short, name in {
        "asin": "asin", "acos": "acos", "abs": "abs", "pr": "prelu", "lr": "leakyrelu", "pw": "power",
        "gn": "gathernd", "ng": "neg", "hs": "hardswish", "erf": "erf"}.items()},
}  # fmt: skip


def test_the_table_has_both_generations() -> None:
    """64 options of 1.29.24 and 89 of 2.6.9, less the three that the parser has outside the table (-i, -o, -V)."""
    assert sum("1" in known.generations for known in KNOWN.values()) == 61
    assert sum("2" in known.generations for known in KNOWN.values()) == 86


@pytest.mark.parametrize("known", KNOWN.values(), ids=lambda known: known.keyword)
def test_an_option_does_what_it_is_judged_to_do(known: Known) -> None:
    row = ALIASES[known.keyword]
    assert known.short in row.option.flags and f"--{known.keyword}" in row.option.flags
    assert verdict(row) in ALLOWED[known.judged]
    if row.refused:
        with pytest.raises(ConversionError, match="is not supported") as found:
            resolve({known.keyword: "something"})
        assert found.value.problems[0].remedy == row.refused
    elif row.ignored:
        assert resolve({known.keyword: "something"}).warnings == (f"{known.keyword} is ignored: {row.ignored}",)


@pytest.mark.parametrize("known", KNOWN.values(), ids=lambda known: known.keyword)
def test_the_default_of_onnx2tf_asks_for_nothing(known: Known) -> None:
    for nothing in (known.default, None, False):
        made = resolve({known.keyword: nothing})
        kept = {"verbosity": {"verbosity": "debug"}, "rtol": {"rtol": 0.0}, "atol": {"atol": 1e-4}}
        kept |= {name: {name: None} for name in ("calibration_mean", "calibration_std")}
        sets = ALIASES[known.keyword].sets
        if nothing is not None and nothing is not False and sets in kept:
            assert nothing == known.default  # said again, it means what it says
        else:
            assert made == resolve({})


@pytest.mark.parametrize("flag", HISTORIC)
def test_historic_spellings(flag: str) -> None:
    assert flag in ALIASES[HISTORIC[flag]].option.flags


def test_a_word_that_begins_like_another_option_is_not_taken_for_it() -> None:
    """``-tdnp f`` is no ``-t dnp``; the command has -t and no -tdnp."""
    from onnx2tf_lite import check_cli

    with pytest.raises(SystemExit) as stop:
        check_cli.main(["-i", "m.onnx", "-tdnp", "f.npy"])
    assert stop.value.code == 2


def test_the_page_is_current() -> None:
    text = PAGE.read_text()
    assert filled(text) == text, "python -m tests.compat.table"


def test_the_parser_has_every_short_flag() -> None:
    known = cli.main.parser()._option_string_actions
    assert {row.short for row in KNOWN.values()} <= known.keys()
