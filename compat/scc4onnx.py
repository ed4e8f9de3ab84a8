from onnx2tf_lite.tools.scc4onnx import order_conversion as order_conversion
