"""Views: Transpose and Reshape as a renaming of axes.

The result of a computing operation is a *base*: one *atom* per axis that is not 1.  A view of it is a list of axes,
each a list of atoms.  Transposing permutes the axes; reshaping regroups the atoms and splits one where an axis is
divided.  Memory order is the sequence of atoms (a :data:`Key`): two orders with equal keys differ by a RESHAPE at the
most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from ..ir.dims import Dim, Shape, exact_div, product

Axes = tuple[tuple[int, ...], ...]  # atoms of every axis
Key = tuple[int, ...]  # leaf atoms in memory order
MAX_RANK = 6  # of the kernels, XNNPACK's too


@dataclass
class Atoms:
    """All atoms of a graph: extents, and for a split atom its outer and inner part."""

    sizes: list[Dim] = field(default_factory=list)
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)

    def new(self, size: Dim) -> int:
        """A new atom of that extent."""
        self.sizes.append(size)
        return len(self.sizes) - 1

    def axes(self, shape: Shape) -> Axes:
        """Fresh atoms for a new base; unit axes have none."""
        return tuple(() if d == 1 else (self.new(d),) for d in shape)

    def leaves(self, atoms: Iterable[int]) -> Key:
        """``atoms`` with every split one replaced by its parts."""
        result: list[int] = []
        for atom in atoms:
            result += self.leaves(self.parts[atom]) if atom in self.parts else [atom]
        return tuple(result)

    def refined(self, axes: Axes) -> Axes:
        """``axes`` in leaf atoms."""
        if not self.parts:
            return axes
        return tuple(self.leaves(a) for a in axes)

    def shape(self, axes: Axes) -> Shape:
        """The extent of every axis: the product of those of its atoms."""
        sizes = self.sizes
        return tuple([sizes[a[0]] if len(a) == 1 else product([sizes[atom] for atom in a]) for a in axes])

    def split(self, atom: int, outer: Dim, inner: Dim) -> tuple[int, int]:
        """The two parts that ``atom`` now consists of."""
        self.parts[atom] = self.new(outer), self.new(inner)
        return self.parts[atom]

    def reshape(self, axes: Axes, shape: Shape) -> Axes | None:
        """The axes of the view with another shape; None where an axis would have to be cut across atoms."""
        if any(d == 0 for d in shape):
            return None
        rest = list(self.leaves(a for axis in axes for a in axis))[::-1]
        result: list[tuple[int, ...]] = []
        for extent in shape:
            group: list[int] = []
            need: Dim = extent
            while need != 1:
                if not rest:
                    return None
                atom = rest.pop()
                left = exact_div(need, self.sizes[atom])
                if left is None:
                    inner = exact_div(self.sizes[atom], need)
                    if inner is None:
                        return None
                    atom, tail = self.split(atom, need, inner)
                    rest.append(tail)
                    left = 1
                group.append(atom)
                need = left
            result.append(tuple(group))
        return None if rest else tuple(result)


def key_of(axes: Sequence[Sequence[int]]) -> Key:
    """Memory order of physical axes (in leaf atoms)."""
    return tuple(chain.from_iterable(axes))


def order_for(axes: Axes, key: Key, hint: Sequence[int]) -> tuple[int, ...] | None:
    """The permutation of whole ``axes`` (leaf atoms) that lies in memory as ``key``; None where there is none.

    Unit axes can stand anywhere: they follow ``hint`` where that fits, else the axis before them.
    """
    start = {axis[0]: i for i, axis in enumerate(axes) if axis}
    order: list[int] = []
    position = 0
    while position < len(key):
        index = start.get(key[position])
        if index is None or key[position : position + len(axes[index])] != axes[index]:
            return None
        order.append(index)
        position += len(axes[index])
    if len(order) != len(start):
        return None
    if [a for a in hint if axes[a]] == order:
        return tuple(hint)
    for index, axis in enumerate(axes):
        if not axis:
            order.insert(order.index(index - 1) + 1 if index else 0, index)
    return tuple(order)


def runs(have: Key, want: Key) -> list[Key]:
    """``have`` cut into the longest pieces that stay together in ``want``."""
    follower = dict(pairwise(want))
    result: list[list[int]] = []
    for atom in have:
        if result and follower.get(result[-1][-1]) == atom:
            result[-1].append(atom)
        else:
            result.append([atom])
    return [tuple(r) for r in result]


def pieces(have: Axes, want: Axes) -> tuple[Axes, tuple[int, ...]]:
    """The axes as which a tensor that lies as ``have`` is to be seen, and the permutation that makes it ``want``."""
    seen = seen_as(have, want)
    start = {axis[0]: i for i, axis in enumerate(seen) if axis}
    filled = [start[a] for a in key_of(want) if a in start]
    units = [i for i, axis in enumerate(seen) if not axis]
    if len(seen) == len(want) and len(filled) == sum(map(bool, want)):
        rest, spare = iter(filled), iter(units)
        return seen, tuple(next(rest) if axis else next(spare) for axis in want)
    return seen, (*units, *filled)


def seen_as(have: Axes, want: Axes) -> Axes:
    """The axes of ``have`` itself where none of them is torn apart: nothing comes before the TRANSPOSE.  Else those
    that give the axes of ``want`` where these are not: nothing comes behind it.  Else the longest runs that stay
    together.
    """
    parts = tuple(runs(key_of(have), key_of(want)))
    mine, theirs = set(filter(None, have)), set(filter(None, want))
    seen = parts
    if mine == theirs or mine <= set(parts):
        seen = have
    elif theirs <= set(parts):
        seen = (*(a for a in want if not a), *parts)
    return seen if len(seen) <= MAX_RANK else parts
