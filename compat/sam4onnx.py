from onnx2tf_lite.tools.sam4onnx import modify as modify
