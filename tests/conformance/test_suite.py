"""ONNX's backend suite: every case in scope converts and matches, or is listed in ``exclusions`` and is refused.

Also: with parameters baked in, with all extents unknown, as a SavedModel.  ``results.json`` holds what the last run of
``python -m tests.conformance --write`` saw; every verdict here has to be the one there, so that it is current.
"""

from __future__ import annotations

import fnmatch
import zlib

import onnx
import pytest
from packaging.version import Version

from tests.conformance import exclusions, operators, results
from tests.conformance.cases import VARIANTS, Case, cases, variant
from tests.conformance.judge import OK, REFUSED, judge, kind_of

STORED = results.read()
EVERY = {"baked": 2, "dynamic": 2, "saved-model": 30}  # which share of a variant runs: the whole is a command


def the_case(name: str) -> Case:
    if name not in cases():
        pytest.skip(f"onnx {onnx.__version__} has no such case; results.json is of onnx {STORED.onnx}")
    if Version(onnx.__version__) < Version("1.20") and exclusions.corrected(name):
        pytest.skip(f"onnx {onnx.__version__} has it wrong: later releases expect something else of the same operands")
    return cases()[name]


def sample(kind: str) -> list[str]:
    """Names chosen by a stable hash, of the cases that match as they are and take part in the variant."""
    return [n for n, r in STORED.cases.items()
            if r.counts and kind in r.variants and zlib.crc32(n.encode()) % EVERY[kind] == 0]  # fmt: skip


@pytest.mark.parametrize("name", STORED.cases)
def test_case(name):
    case = the_case(name)
    verdict = judge(case)
    stored, why = STORED.cases[name], exclusions.reason(name) if case.in_scope else None
    if case.in_scope:
        assert verdict.status == (REFUSED if why else OK), f"{verdict.reason} (excluded: {why})"
    else:
        assert verdict.status in (OK, REFUSED), verdict.reason
    assert verdict.status == stored.status, "results.json is old: python -m tests.conformance --write"
    assert verdict.status == OK or verdict.reason


def test_every_exclusion_names_a_case():
    in_scope = [name for name, result in STORED.cases.items() if result.in_scope]
    assert [p for p in exclusions.EXCLUDED if not fnmatch.filter(in_scope, p)] == []


@pytest.mark.skipif(onnx.__version__ != STORED.onnx, reason=f"results.json is of onnx {STORED.onnx}")
def test_every_case_is_in_the_results():
    assert set(cases()) == set(STORED.cases)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in VARIANTS[1:] for name in sample(kind)])
def test_variant(kind, name):
    """A variant matches where results.json has it so, and is refused elsewhere."""
    if kind == "saved-model":
        pytest.importorskip("tensorflow", reason="the SavedModel needs TensorFlow")
    made = variant(the_case(name), kind)
    verdict = judge(made, kind_of(kind))
    stored = STORED.cases[name].variants[kind]
    assert verdict.status == stored.split(":")[0], f"{verdict.reason} (results.json: {stored})"


def test_nothing_stored_is_wrong():
    """The sampled variants too: whatever does not match is refused."""
    stored = [(kind, name, said) for name, r in STORED.cases.items()
              for kind, said in {"plain": r.status, **r.variants}.items()]  # fmt: skip
    assert [row for row in stored if row[2].split(":")[0] not in (OK, REFUSED)] == []


def test_operators_document_is_current():
    assert operators.PATH.read_text(encoding="utf-8") == operators.document(STORED), (
        "python -m tests.conformance.operators"
    )
