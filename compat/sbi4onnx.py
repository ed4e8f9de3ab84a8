from onnx2tf_lite.tools.sbi4onnx import initialize as initialize
