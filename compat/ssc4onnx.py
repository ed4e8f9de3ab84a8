from onnx2tf_lite.tools.ssc4onnx import structure_check as structure_check
