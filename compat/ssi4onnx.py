from onnx2tf_lite.tools.ssi4onnx import shape_inference as shape_inference
