from onnx2tf_lite.tools.sog4onnx import generate as generate
