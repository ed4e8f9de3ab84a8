from onnx2tf_lite.tools.sit4onnx import inference as inference
