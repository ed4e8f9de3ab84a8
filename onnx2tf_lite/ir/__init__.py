"""The intermediate representation: TFLite's operator set as a typed SSA program with symbolic shapes.

``dims``    symbolic extents                    ``kind``   what the definition of an operator holds
``graph``   values, operations, graphs          ``kinds/`` the operators, a family per file, each defined once
``build``   functions that append operations, fold constants and track shape arithmetic
``legalize`` the dtype policy, with ``ranges`` (interval analysis) and ``ranks`` (merging axes)
``dynamic`` run-time shapes from symbolic ones  ``verify`` what every stage must leave behind
"""
