from onnx2tf_lite.tools.sde4onnx import erase as erase
