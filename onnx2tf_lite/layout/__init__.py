"""Layout assignment: where data moves is decided once for the whole graph, with the fewest bytes.

``views``     Transpose and Reshape as renamings   ``candidates``  two candidate orders per operation
``problem``   the choice as an optimisation problem
``cut``       its exact solution                   ``stage``     solve and rewrite
"""

from .stage import LayoutReport, Transposition, assign

__all__ = ["LayoutReport", "Transposition", "assign"]
