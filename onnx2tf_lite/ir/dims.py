"""Symbolic tensor extents: integer polynomials over named symbols, in one canonical form.

A :data:`Dim` is a plain ``int`` or an :class:`Expr`.  Two expressions are equal exactly when their canonical forms
are, so a shape can be a dictionary key and "are these two extents the same?" is ``==``.  Floor division, modulo,
minimum and maximum that do not simplify become opaque atoms of the polynomial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from math import gcd, prod
from operator import mul
from typing import Union

from ..record import record

Atom = Union[str, "DimFunction"]
Monomial = tuple[Atom, ...]  # sorted, with repetition: (H, H, W) is H*H*W


@record
class DimFunction:
    """An opaque integer function of dims: ``//``, ``%``, ``min`` or ``max``."""

    op: str
    args: tuple[Dim, ...]

    def __str__(self) -> str:
        if self.op in ("//", "%"):
            divisor = str(self.args[1])
            return f"({self.args[0]}){self.op}{divisor if divisor.isalnum() else f'({divisor})'}"
        return f"{self.op}({', '.join(map(str, self.args))})"


@record
class Expr:
    """A polynomial that is not a plain integer: ``terms`` maps monomials to non-zero coefficients, sorted."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        return _poly(_terms(self) + _terms(other))

    def __mul__(self, other: Dim) -> Dim:
        return _poly([(_product(a, b), x * y) for a, x in _terms(self) for b, y in _terms(other)])

    def __sub__(self, other: Dim) -> Dim:
        return self + (-1 * other)

    def __neg__(self) -> Dim:
        return self * -1

    def __rsub__(self, other: Dim) -> Dim:
        return -1 * self + other

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return modulo(self, other)

    def __str__(self) -> str:
        def term(monomial: Monomial, factor: int) -> str:
            one = len(monomial) == 1 and factor == 1  # a quotient alone needs no brackets
            names = [str(a) if one or _is_word(a) else f"({a})" for a in monomial]
            return "*".join(names if factor == 1 and names else [str(factor), *names])

        return "+".join(term(m, c) for m, c in self.terms).replace("+-", "-")

    __repr__ = __str__


def _is_word(atom: Atom) -> bool:
    """A name that is no formula (exporters call an extent ``h-1``), and no quotient: it needs no brackets."""
    return isinstance(atom, str) and not set(atom) & set("+-*/%() ")


@record
class Ratio:
    """A quotient of dims that need not be whole, in shape arithmetic done with floats; rounding makes a dim of it."""

    above: Dim
    below: Dim


Dim = Union[int, Expr]
Shape = tuple[Dim, ...]


def symbol(name: str) -> Expr:
    """The dim called ``name``."""
    return Expr((((name,), 1),))


def _terms(dim: Dim) -> list[tuple[Monomial, int]]:
    return list(dim.terms) if isinstance(dim, Expr) else [((), int(dim))]


def _product(a: Monomial, b: Monomial) -> Monomial:
    return tuple(sorted(a + b, key=str))


def _poly(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    total: dict[Monomial, int] = {}
    for monomial, factor in terms:
        total[monomial] = total.get(monomial, 0) + factor
    kept = sorted(((m, c) for m, c in total.items() if c), key=lambda t: (-len(t[0]), [str(a) for a in t[0]]))
    if not kept:
        return 0
    return kept[0][1] if kept[0][0] == () else Expr(tuple(kept))


def exact_div(a: Dim, b: Dim) -> Dim | None:
    """``a / b`` where it is a polynomial with integer coefficients, else None (multivariate long division)."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else None
    if a == 0:
        return 0
    divisor, rest = _terms(b), a
    quotient: Dim = 0
    lead, factor = divisor[0]
    for _ in range(32):  # every round removes the leading term, so this is only a guard
        if rest == 0:
            return quotient
        monomial, coefficient = _terms(rest)[0]
        left = list(monomial)
        for atom in lead:
            if atom not in left:
                return None
            left.remove(atom)
        if not factor or coefficient % factor:
            return None
        step = _poly([(tuple(left), coefficient // factor)])
        quotient, rest = quotient + step, rest - step * b
    return None


def common_factor(shape: Iterable[Dim]) -> int:
    """The largest integer that divides every coefficient of these dims; 0 where all are 0."""
    return gcd(*(factor for dim in shape for _, factor in _terms(dim)))


def floordiv(a: Dim, b: Dim) -> Dim:
    """``a // b``; multiples of ``b`` are taken out of the quotient."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    exact = exact_div(a, b)
    if exact is not None:
        return exact
    whole: Dim = 0
    rest: Dim = 0
    for monomial, factor in _terms(a):
        part = _poly([(monomial, factor)])
        if monomial == () and isinstance(b, int):
            whole, rest = whole + factor // b, rest + factor % b
            continue
        quotient = exact_div(part, b)
        whole, rest = (whole + quotient, rest) if quotient is not None else (whole, rest + part)
    if rest == 0 or (isinstance(rest, int) and isinstance(b, int)):
        return whole + (rest // b if rest else 0)
    return whole + _poly([((DimFunction("//", (rest, b)),), 1)])


def modulo(a: Dim, b: Dim) -> Dim:
    """``a % b``."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    return 0 if exact_div(a, b) is not None else _poly([((DimFunction("%", (a, b)),), 1)])


def ceildiv(a: Dim, b: Dim) -> Dim:
    """``ceil(a / b)``."""
    return floordiv(a + b - 1, b)


def minimum(a: Dim, b: Dim) -> Dim:
    """The smaller of two dims, symbolic where that is not decidable."""
    return _extreme("min", a, b)


def maximum(a: Dim, b: Dim) -> Dim:
    """The larger of two dims, symbolic where that is not decidable."""
    return _extreme("max", a, b)


def _extreme(op: str, a: Dim, b: Dim) -> Dim:
    difference = a - b
    if isinstance(difference, int):
        return (a if difference <= 0 else b) if op == "min" else (a if difference >= 0 else b)
    return _poly([((DimFunction(op, tuple(sorted((a, b), key=str))),), 1)])


def product(dims: Sequence[Dim]) -> Dim:
    """The product of ``dims`` (1 for none)."""
    return prod(dims) if is_static(dims) else reduce(mul, dims, 1)


def is_static(dims: Iterable[object]) -> bool:
    """True where no dim is symbolic."""
    return not any(isinstance(d, (Expr, Ratio)) for d in dims)


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The number that ``dim`` stands for when its symbols have ``values``; KeyError names a missing symbol."""
    if not isinstance(dim, Expr):
        return int(dim)
    return sum(factor * prod(_evaluate_atom(a, values) for a in monomial) for monomial, factor in dim.terms)


def _evaluate_atom(atom: Atom, values: Mapping[str, int]) -> int:
    if isinstance(atom, str):
        return values[atom]
    args = [evaluate(a, values) for a in atom.args]
    if atom.op == "//":
        return args[0] // args[1]
    return args[0] % args[1] if atom.op == "%" else {"min": min, "max": max}[atom.op](args)


def symbols(dims: Iterable[object]) -> set[str]:
    """Names of all symbols in ``dims``."""
    found: set[str] = set()
    for dim in dims:
        if isinstance(dim, Expr):
            for monomial, _ in dim.terms:
                for atom in monomial:
                    found |= {atom} if isinstance(atom, str) else symbols(atom.args)
    return found


def substitute(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    """``dim`` with symbols replaced by other dims."""
    if not isinstance(dim, Expr):
        return dim
    total: Dim = 0
    for monomial, factor in dim.terms:
        total = total + product([_substitute_atom(a, values) for a in monomial]) * factor
    return total


def _substitute_atom(atom: Atom, values: Mapping[str, Dim]) -> Dim:
    if isinstance(atom, str):
        return values.get(atom, symbol(atom))
    args = [substitute(a, values) for a in atom.args]
    if atom.op == "//":
        return floordiv(args[0], args[1])
    if atom.op == "%":
        return modulo(args[0], args[1])
    return _extreme(atom.op, args[0], args[1])


def show(dims: Sequence[Dim]) -> str:
    """``1,3,H,W``, for messages."""
    return ",".join(map(str, dims))


def nonnegative(dim: Dim) -> bool:
    """True where ``dim`` is provably >= 0 for symbols >= 1."""
    return _grows(dim) or _grows(_without_quotients(dim))


def _grows(dim: Dim) -> bool:
    """It grows with every symbol and is >= 0 at 1."""
    terms = _terms(dim)
    atoms = [a for monomial, _ in terms for a in monomial if isinstance(a, DimFunction)]
    if any(factor < 0 for monomial, factor in terms if monomial) or not all(map(_nonnegative_call, atoms)):
        return False  # an opaque atom of non-negative arguments is non-negative, but may be 0
    return sum(factor for monomial, factor in terms if not any(isinstance(a, DimFunction) for a in monomial)) >= 0


def _nonnegative_call(call: DimFunction) -> bool:
    if call.op == "%" and isinstance(call.args[1], int):
        return call.args[1] > 0
    return (any if call.op == "max" else all)(map(nonnegative, call.args))


def _without_quotients(dim: Dim) -> Dim:
    """A lower bound: k * (a // k) lies between a - k + 1 and a.  So x - k * (x // k), which is x % k, is >= 0."""
    total: Dim = 0
    for monomial, factor in _terms(dim):
        term = _poly([(monomial, factor)])
        call = monomial[0] if len(monomial) == 1 else None
        if isinstance(call, DimFunction) and call.op == "//" and isinstance(call.args[1], int):
            a, k = call.args[0], call.args[1]
            if k > 0 and factor % k == 0:
                term = (a if factor < 0 else a - k + 1) * (factor // k)
        total = total + term
    return total
