from onnx2tf_lite.tools.onnx2json import convert as convert
