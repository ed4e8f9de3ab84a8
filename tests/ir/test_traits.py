"""Every trait of an operator is true of what the operator means in numpy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest

from onnx2tf_lite.ir.graph import Op
from onnx2tf_lite.ir.intervals import Interval
from onnx2tf_lite.ir.kind import define
from onnx2tf_lite.ir.kinds import KINDS
from onnx2tf_lite.ir.kinds.shapes import compared, joined, same
from onnx2tf_lite.ir.traits import MOVER, REALS, Bits, Elements, FixedScale, Lapse, Traits, computed
from tests.emitters.cases import CASES, program
from tests.emitters.numpy_ops import results

Arrays = list[np.ndarray]
LARGEST = np.finfo(np.float32).max
FINITE = np.array([0, 0.1, 1, 2.5, 60, 1e20, LARGEST, -0.1, -1, -2.5, -60, -1e20, -LARGEST, 1e-30, -1e-30], np.float32)


def _operations() -> dict[str, tuple[Op, Arrays]]:
    """The operations of the one-operation programs, with operands."""
    found: dict[str, tuple[Op, Arrays]] = {}
    for name, case in CASES.items():
        graph, feeds = program(case, False)
        env = dict(zip(graph.inputs, feeds.values(), strict=True))
        for op in graph.ops:
            arrays = [v.data if v.data is not None else env[v] for v in op.inputs if v is not None]
            env |= dict(zip(op.outputs, (np.asarray(a) for a in results(op, arrays)), strict=True))
            if not op.attrs.get("activation"):
                found.setdefault(f"{op.kind.name}:{name}", (op, arrays))
    return found


OPERATIONS = _operations()


def with_trait(test) -> pytest.MarkDecorator:
    """The operations whose kind passes ``test``."""
    chosen = [key for key, (op, _) in OPERATIONS.items() if test(op.kind)]
    assert chosen
    return pytest.mark.parametrize("key", chosen)


def evaluate(op: Op, arrays: Arrays) -> Arrays:
    with np.errstate(all="ignore"):
        return [np.asarray(a) for a in results(op, arrays)]


def drawn(arrays: Arrays, rng: np.random.Generator, pool: np.ndarray) -> Arrays:
    """The operands with other numbers in place of all floats."""
    return [rng.choice(pool, a.shape).astype(a.dtype) if a.dtype.kind == "f" else a for a in arrays]


# ------------------------------------------------------------------------------------------------ definitions


@pytest.mark.parametrize("trait", [f.name for f in fields(Traits)])
def test_a_definition_answers_every_question(trait: str) -> None:
    answers = {f.name: getattr(MOVER, f.name) for f in fields(Traits) if f.name != trait}
    with pytest.raises(TypeError, match=trait):
        define("NEW", same, Traits(**answers), types="f32", max_rank=4)
    assert "NEW" not in KINDS


@pytest.mark.parametrize("missing", ["types", "max_rank"])
def test_a_definition_says_what_its_kernel_takes(missing: str) -> None:
    kernel = {"types": "f32", "max_rank": 4}
    del kernel[missing]
    with pytest.raises(TypeError, match=missing):
        define("NEW", same, MOVER, **kernel)
    assert "NEW" not in KINDS


def test_a_definition_without_traits_is_refused() -> None:
    with pytest.raises(TypeError, match="traits"):
        define("NEW", same, types="f32", max_rank=4)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no answer to elements, special"):
        define("NEW", same, None, types="f32", max_rank=4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="twice"):
        define("ADD", same, MOVER, types="f32", max_rank=4)


def test_a_family_leaves_open_what_it_cannot_know() -> None:
    with pytest.raises(TypeError, match="limits"):
        computed(". . . . n", interval=None, bits=Bits.WRONG, int8=None)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="moves"):
        MOVER.but(moves=True)


# ------------------------------------------------------------------------------------------------ elements


@with_trait(lambda kind: kind.elements in (Elements.COPIED, Elements.PICKED))
def test_elements_are_those_of_operands(key: str) -> None:
    op, arrays = OPERATIONS[key]
    found = evaluate(op, arrays)
    copied = op.kind.elements is Elements.COPIED
    allowed = arrays[:1] if copied else [*arrays, np.zeros(1)]
    if op.kind.operands and 0 not in op.kind.operands[:1] and copied:
        allowed = arrays
    for array in found if key.startswith("SPLIT") else found[:1]:
        assert np.isin(array, np.concatenate([np.ravel(a) for a in allowed])).all()


@with_trait(lambda kind: kind.elements is Elements.COMPUTED and kind.tensorflow not in ("Bitcast", None))
def test_computed_elements_are_new(key: str) -> None:
    """An operator that only moves must say so: what it computes is somewhere no element of an operand."""
    op, arrays = OPERATIONS[key]
    rng = np.random.default_rng(3)
    sets = [arrays, drawn(arrays, rng, np.float32([0.3, 0.7, 1.1, 1.9, 2.3, 0.01, 7.7, 0.002]))]
    new = [not np.isin(r, np.concatenate([np.ravel(a) for a in s])).all() for s in sets for r in evaluate(op, s)]
    assert any(new) or op.outputs[0].dtype != op.inputs[0].dtype or op.outputs[0].dtype.kind != "f"


# ------------------------------------------------------------------------------------------------ order of operands


def _exchanged(op: Op, arrays: Arrays) -> bool:
    """True where exchanging the first two operands gives the same."""
    if op.kind.infer not in (joined, compared):
        return op.kind.commutes  # the operands are different things
    there, back = evaluate(op, arrays), evaluate(op, [arrays[1], arrays[0], *arrays[2:]])
    return all(a.shape == b.shape and np.array_equal(a, b, equal_nan=True) for a, b in zip(there, back, strict=True))


@with_trait(lambda kind: kind.name not in ("IF", "WHILE"))
def test_an_operator_commutes_where_it_says_so(key: str) -> None:
    op, arrays = OPERATIONS[key]
    if len(arrays) < 2:
        assert not op.kind.commutes
        return
    integers = [np.arange(a.size).reshape(a.shape).astype(a.dtype) + i for i, a in enumerate(arrays)]
    assert (_exchanged(op, arrays) and _exchanged(op, integers)) == op.kind.commutes


# ------------------------------------------------------------------------------------------------ infinities and NaN

PLANTS = {"finite": (), "plus": (np.inf,), "minus": (-np.inf,), "nan": (np.nan,), "clash": (np.inf, -np.inf)}
POOLS = (FINITE, FINITE[:5], FINITE[7:11], FINITE[1:5])


def classes(arrays: Arrays) -> set[str]:
    """Which of +inf, -inf and NaN are in float arrays."""
    tests = {"+": np.isposinf, "-": np.isneginf, "n": np.isnan}
    floats = [a for a in arrays if a.dtype.kind == "f"]
    return {c for c, test in tests.items() if any(test(a).any() for a in floats)}


def planted(arrays: Arrays, numbers: tuple[float, ...], seed: int) -> Iterator[tuple[Arrays, bool]]:
    """The operands with other finite floats, and ``numbers`` in one place, in one operand, everywhere; and whether two
    of them can meet."""
    rng = np.random.default_rng(seed)
    floats = [i for i, a in enumerate(arrays) if a.dtype.kind == "f" and a.size]
    for size, pool in itertools.product(("element", "operand", "all"), POOLS):
        for target in floats:
            given = drawn(arrays, rng, pool)
            for i in floats if size == "all" else [target]:
                flat = given[i].reshape(-1)
                places = range(flat.size) if size != "element" else rng.integers(0, flat.size, max(1, len(numbers)))
                for place, number in zip(places, itertools.cycle(numbers or (flat[0],))):
                    flat[place] = number
                given[i] = flat.reshape(given[i].shape)
            yield given, size != "element" or len(numbers) > 1


def _seen(op: Op, arrays: Arrays, among: str) -> Iterator[tuple[set[str], bool]]:
    for given, meet in planted(arrays, PLANTS[among], 11):
        yield classes(evaluate(op, given)), meet


WITH_FLOATS = [
    key
    for key, (op, arrays) in OPERATIONS.items()
    if any(a.dtype.kind == "f" for a in arrays)
    and op.kind.name not in ("IF", "WHILE", "RANGE", "NON_MAX_SUPPRESSION_V4")
]


@pytest.mark.parametrize("among", PLANTS)
@pytest.mark.parametrize("key", WITH_FLOATS)
def test_no_infinity_or_nan_but_what_the_row_says(key: str, among: str) -> None:
    op, arrays = OPERATIONS[key]
    special = op.kind.special
    alone = set(special.finite) | set(special.plus + special.minus if among == "clash" else getattr(special, among))
    for seen, meet in _seen(op, arrays, among):
        allowed = alone | set(special.clash) if meet else alone
        assert seen <= allowed, f"{op.kind.name}: {among} gives {seen}, the row says {allowed}"


NUMPY_DIFFERS = {"FLOOR_DIV"}  # numpy's floor of an infinite quotient is NaN


@pytest.mark.parametrize("among", ["plus", "minus", "nan"])
@pytest.mark.parametrize("name", sorted({OPERATIONS[key][0].kind.name for key in WITH_FLOATS} - NUMPY_DIFFERS))
def test_what_the_row_says_of_infinity_and_nan_does_come(name: str, among: str) -> None:
    """A claim too many would put operators where none are needed."""
    cases = [OPERATIONS[key] for key in WITH_FLOATS if OPERATIONS[key][0].kind.name == name]
    if name == "LEAKY_RELU":
        cases += [(_again(op, alpha=alpha), arrays) for op, arrays in cases for alpha in (0.0, -1.0)]
    if cases[0][0].outputs[0].dtype.kind == "f":
        seen = {c for op, arrays in cases for found, _ in _seen(op, arrays, among) for c in found}
        assert set(getattr(KINDS[name].special, among)) <= seen


def _again(op: Op, **attrs: object) -> Op:
    return Op(op.kind, op.inputs, op.outputs, {**op.attrs, **attrs})


# ------------------------------------------------------------------------------------------------ limits


@with_trait(lambda kind: kind.name not in ("IF", "WHILE", "RFFT2D", "RANGE", "NON_MAX_SUPPRESSION_V4"))
def test_float_results_are_within_their_limits(key: str) -> None:
    op, arrays = OPERATIONS[key]
    low, high = map(np.float32, op.kind.limits)
    for pool in (FINITE, np.linspace(-8, 8, 400, dtype=np.float32)):
        for result in evaluate(op, drawn(arrays, np.random.default_rng(5), pool)):
            if result.dtype.kind == "f":
                assert np.nanmin(result, initial=low) >= low and np.nanmax(result, initial=high) <= high


@with_trait(lambda kind: kind.clamps)
def test_an_activation_limits_its_operand(key: str) -> None:
    op, _ = OPERATIONS[key]
    (result,) = evaluate(op, [FINITE])
    np.testing.assert_array_equal(result, np.clip(FINITE, *op.kind.limits))


# ------------------------------------------------------------------------------------------------ whole numbers


def whole(arrays: Arrays, op: Op, seed: int) -> tuple[Arrays, list[Interval]]:
    """Integers in place of all floats, and of integers in place of those that are data; with the intervals of all."""
    rng = np.random.default_rng(seed)
    chosen: Arrays = []
    for i, a in enumerate(arrays):
        data = i in (op.kind.typed or range(len(arrays))) and a.dtype.kind in "iuf"
        low, high = sorted(rng.integers(-40, 60, 2))
        safe = a.dtype.kind == "f" or (data and op.kind.trap is None and op.kind.elements is not Elements.DELEGATED)
        chosen.append(rng.integers(low, high + 1, a.shape) if safe and op.kind.name != "RIGHT_SHIFT" else a)
    if op.kind.layout.channels_last:  # their padding can be -inf
        chosen = [a.astype(np.float64) for a in chosen]
    return chosen, [(int(a.min()), int(a.max())) if a.dtype.kind != "b" else (0, 1) for a in chosen]


def nonzero_divisor(op: Op, arrays: Arrays) -> bool:
    return op.kind.name not in ("DIV", "FLOOR_DIV", "FLOOR_MOD") or bool(arrays[1].all())


@with_trait(lambda kind: kind.interval is not None)
@pytest.mark.parametrize("seed", range(4))
def test_intervals_hold_the_results(key: str, seed: int) -> None:
    op, arrays = OPERATIONS[key]
    given, intervals = whole(arrays, op, seed)
    if not nonzero_divisor(op, given) or (op.kind.name == "CAST" and op.attrs["to"].kind == "f"):
        return
    assert op.kind.interval is not None
    found = op.kind.interval(op, *intervals)
    expected = found if isinstance(found, list) else [found]
    for result, (low, high) in zip(evaluate(op, given), expected, strict=True):
        if result.size and op.kind.name != "RANGE":
            assert low <= result.min() and result.max() <= high, f"{op.kind.name} of {intervals}: {low}..{high}"


@with_trait(lambda kind: kind.elements is not Elements.DELEGATED)
def test_whole_numbers_beside_floats_say_which_elements(key: str) -> None:
    op, arrays = OPERATIONS[key]
    if any(a.dtype.kind == "f" for a in arrays):
        assert op.kind.indices == tuple(i for i, a in enumerate(arrays) if a.dtype.kind in "iu")


@with_trait(lambda kind: kind.saturates != REALS)
def test_beyond_saturation_a_result_hardly_changes(key: str) -> None:
    """By less than a fifth of a step of the 8-bit kernel: its fixed scale, or 1/255 of the span of the results."""
    op, _ = OPERATIONS[key]
    low, high = (float(np.clip(end, -1e4, 1e4)) for end in op.kind.saturates)
    ends = np.array([low, high], np.float32)
    (inside,) = evaluate(op, [np.linspace(max(low, -10), min(high, 10), 999, dtype=np.float32)])
    fixed = op.kind.int8.scale if isinstance(op.kind.int8, FixedScale) else None
    step = fixed or float(inside.max() - inside.min()) / 255
    for end, finite, sign in zip(ends, op.kind.saturates, (-1, 1), strict=True):
        if abs(finite) < 1e4:
            beyond = end + sign * np.linspace(0, 100, 999, dtype=np.float32)
            (there,), (here,) = evaluate(op, [beyond]), evaluate(op, [np.full(999, end)])
            assert np.abs(there - here).max() < step / 5


@with_trait(lambda kind: kind.exact_in_float)
def test_whole_results_are_exact_in_float(key: str) -> None:
    op, arrays = OPERATIONS[key]
    given, _ = whole(arrays, op, 1)
    for real, exact in zip(evaluate(op, [a.astype(np.float32) for a in given]), evaluate(op, given), strict=True):
        np.testing.assert_array_equal(real, exact)


# ------------------------------------------------------------------------------------------------ uint64 on int64


def _wide(op: Op, arrays: Arrays) -> Arrays:
    """Random uint64 in place of the data."""
    rng, ports = np.random.default_rng(2), op.kind.typed or range(len(arrays))
    data = [i for i in ports if i < len(arrays) and arrays[i].dtype.kind in "fiu"]
    draw = lambda a: rng.integers(0, 2**64, a.shape, np.uint64, endpoint=False)  # noqa: E731
    return [draw(a) if i in data else a for i, a in enumerate(arrays)]


@with_trait(lambda kind: kind.bits is Bits.SAME and kind.elements is not Elements.DELEGATED and kind.name != "BITCAST")
def test_the_same_bits_serve_uint64(key: str) -> None:
    op, arrays = OPERATIONS[key]
    given = _wide(op, arrays)
    wanted = evaluate(op, given)
    signed = evaluate(op, [a.view(np.int64) if a.dtype == np.uint64 else a for a in given])
    for got, want in zip(signed, wanted, strict=True):
        np.testing.assert_array_equal(got.astype(want.dtype) if want.dtype == np.uint64 else got, want)


@with_trait(lambda kind: kind.bits in (Bits.ORDERED, Bits.FLIPPED))
def test_flipped_bits_serve_the_order_of_uint64(key: str) -> None:
    op, arrays = OPERATIONS[key]
    given = _wide(op, arrays)
    top = np.uint64(2**63)
    wanted = evaluate(op, given)
    signed = evaluate(op, [(a ^ top).view(np.int64) if a.dtype == np.uint64 else a for a in given])
    for got, want in zip(signed, wanted, strict=True):
        back = got.view(np.uint64) ^ top if got.dtype == np.int64 and want.dtype == np.uint64 else got
        np.testing.assert_array_equal(back, want)


# ------------------------------------------------------------------------------------------------ one and the same


@with_trait(lambda kind: kind.float64 is not None)
def test_the_kernel_of_float64_computes_the_same(key: str) -> None:
    op, arrays = OPERATIONS[key]
    wide = [np.asarray(a, np.float64) for a in arrays]
    other = KINDS[op.kind.float64 or ""]
    assert "f64" in other.types.split() and other.evaluate is not None
    np.testing.assert_array_equal(other.evaluate({}, *wide), evaluate(op, wide)[0])


COMBINES = {"mul": np.multiply, "max": np.maximum, "min": np.minimum}


@with_trait(lambda kind: kind.combines is not None)
def test_the_body_of_a_scatter_is_its_reduction(key: str) -> None:
    op, arrays = OPERATIONS[key]
    np.testing.assert_array_equal(evaluate(op, arrays)[0], COMBINES[op.kind.combines or ""](*arrays))


@with_trait(lambda kind: kind.lapse is not None)
def test_what_a_kernel_loses_is_there(key: str) -> None:
    """Infinite results of finite operands, or NaN: of the first operand alone."""
    op, arrays = OPERATIONS[key]
    if op.kind.lapse in (Lapse.FIRST, Lapse.NAN, Lapse.AMONG):
        first = np.full_like(arrays[0], np.nan) if arrays[0].dtype.kind == "f" else arrays[0]
        (found,) = evaluate(op, [first, *arrays[1:]])
        assert np.isnan(found).all() or found.dtype.kind != "f"
    else:
        rng = np.random.default_rng(0)
        assert any(np.isinf(evaluate(op, drawn(arrays, rng, FINITE))[0]).any() for _ in range(50)) or all(
            a.dtype.kind != "f" for a in arrays
        )


def test_every_kind_is_asked() -> None:
    stateful = {name for name, kind in KINDS.items() if kind.stateful}
    replaced = {name for name, kind in KINDS.items() if kind.operator is None}  # before anything is written
    assert {op.kind.name for op, _ in OPERATIONS.values()} == set(KINDS) - stateful - replaced
