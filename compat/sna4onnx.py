from onnx2tf_lite.tools.sna4onnx import add as add
