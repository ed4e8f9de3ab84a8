from onnx2tf_lite.tools.snc4onnx import combine as combine
