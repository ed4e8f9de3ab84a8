from onnx2tf_lite.tools.scs4onnx import shrinking as shrinking
