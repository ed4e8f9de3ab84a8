"""ONNX on disk and in memory: what the passes and the tuning tools stand on.

read, write       a file, its side files, pipes; weights stay on disk until somebody asks for one
tensors, types    one TensorProto wherever its contents lie; declared types, in words and compared
walk, names       graphs, bodies and functions of a ModelProto; names looked up, renamed and made
light, infer      copies without weights; onnx's checker and shape inference on them
surgeon, edit     the same model as an onnx-graphsurgeon graph, and how that is changed
schema, upgrade, downgrade    what ONNX says of an operator, and its forms in older and newer opsets
"""
