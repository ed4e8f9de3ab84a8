"""Rewrites that make a program fit a device; each gives the same numbers, but for the rounding of float arithmetic.

A row of :data:`FORMS` is known by its name to the options (``-dgc`` is ``groups``) and to :data:`..WANTED`, what each
device needs.  Where a form belongs between the stages of a branch, :meth:`DeviceForm.late` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ...fusion import cleanup, substitutes
from ...ir.editor import rewrite
from ...ir.graph import Graph
from ...ir.rules import Rule
from ...record import record
from . import arithmetic, products, ranks, unroll, windows


@record
class DeviceForm:
    """A rewrite.

    ``rules``   of the editor; ``coarse`` instead of them where the results become integers: cheaper, and as exact there
    ``whole``   a function of the program, before the rules
    ``late``    of integer kernels (behind the stage that forms them), not of the numbers that they stand for
    """

    rules: Sequence[Rule] = ()
    coarse: Sequence[Rule] = ()
    whole: Callable[[Graph], None] | None = None
    late: bool = False


FORMS: dict[str, DeviceForm] = {
    "groups": DeviceForm([products.groups], late=True),
    "products": DeviceForm([products.unfold], late=True),
    "unroll": DeviceForm([unroll.rows, unroll.step], whole=unroll.unroll),
    **{f"ranks of {name}": DeviceForm(whole=partial(ranks.limit, name=name)) for name in ranks.LIMITED},
    "argmax": DeviceForm([arithmetic.argmax, arithmetic.argmin]),
    "square": DeviceForm([substitutes.square, substitutes.squared_difference]),
    "gelu": DeviceForm([arithmetic.gelu], [arithmetic.coarse_gelu]),
    "clamp": DeviceForm([arithmetic.clamp]),
    "tile": DeviceForm([arithmetic.tile]),
    "hard_swish": DeviceForm([substitutes.hard_swish]),
    "leaky_relu": DeviceForm([arithmetic.leaky_relu]),
    "blocks": DeviceForm([substitutes.depth_to_space, substitutes.space_to_depth]),
    "mean": DeviceForm([arithmetic.mean], late=True),
    "windows": DeviceForm([windows.in_pairs], late=True),
}


def fit(graph: Graph, names: Iterable[str], *, late: bool, coarse: bool = False) -> list[str]:
    """Rewrite a laid-out program, in place, by those of the forms that belong here; what was done."""
    forms = [form for name, form in FORMS.items() if name in set(names) and form.late == late]
    for form in forms:
        if form.whole is not None:
            form.whole(graph)
    rules = [rule for form in forms for rule in (form.coarse if coarse and form.coarse else form.rules)]
    return rewrite(graph, [*cleanup.RULES, *rules]) if forms else []
