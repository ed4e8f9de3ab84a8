from onnx2tf_lite.tools.sne4onnx import extraction as extraction
