from onnx2tf_lite.tools.soa4onnx import outputs_add as outputs_add
