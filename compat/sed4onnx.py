from onnx2tf_lite.tools.sed4onnx import decode as decode
from onnx2tf_lite.tools.sed4onnx import encode as encode
