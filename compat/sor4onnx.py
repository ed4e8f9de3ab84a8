from onnx2tf_lite.tools.sor4onnx import rename as rename
