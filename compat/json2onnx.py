from onnx2tf_lite.tools.json2onnx import convert as convert
