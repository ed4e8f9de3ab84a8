"""Every layer on its own, and what of a file was reached.

``alone``      which layers are tried, how often, and what is found; ``trial`` is its side in a child
``compared``   two sides of a layer, and what is asked of it; ``saturation``: beyond the scales inside
``isolate``    layers of a file as a model of parts; ``crop``: on fewer places where all are alike
``bodies``     the branches of Ifs, the bodies of loops, as models of their own
``channels``   results that no operand moved; ``eightbits``: what rounding of weights may do to them
``coverage``   which layers, branches and weights were seen
"""
