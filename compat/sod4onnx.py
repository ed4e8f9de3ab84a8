from onnx2tf_lite.tools.sod4onnx import outputs_delete as outputs_delete
