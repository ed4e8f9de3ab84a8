from onnx2tf_lite.tools.snd4onnx import remove as remove
