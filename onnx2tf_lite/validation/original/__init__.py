"""The original model, as ONNX Runtime and ONNX's own definitions run it.

``reference``    the model in ONNX Runtime: whole, node by node (``stepwise``), or in other words (``restate``)
``parts``        layers of it as one model of independent parts
``precision``    what rounding takes from a model, given back: 16-bit floats, products of bytes
``unquantised``  a quantised model as the real numbers that it stands for
``tidy``         without what means nothing
``definitions``  operators outside the standard in ONNX's own words; ``nodes`` as messages
``known_errors`` what the references are known to do wrong, each with the evidence
"""
