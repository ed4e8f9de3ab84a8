"""Layout assignment: where data moves is decided once for the whole graph, with the fewest bytes.

``views``     Transpose and Reshape as renamings   ``rules``     the orders an operator can work in
``families``  two candidate orders per operation   ``problem``   the choice as an optimisation problem
``cut``       its exact solution                   ``stage``     solve and rewrite
"""

from .rules import AS_WRITTEN, Rule

__all__ = ["AS_WRITTEN", "LayoutReport", "Move", "Rule", "assign"]


def __getattr__(name: str) -> object:
    # ir.kind needs the rules while it is being defined, and the stage needs ir: so the stage is loaded on first use
    if name in ("assign", "LayoutReport", "Move"):
        from . import stage

        return getattr(stage, name)
    raise AttributeError(name)
