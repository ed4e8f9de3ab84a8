from onnx2tf_lite.tools.soc4onnx import change as change
