from onnx2tf_lite.tools.sng4onnx import generate as generate
