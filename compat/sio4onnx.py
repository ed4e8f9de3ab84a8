from onnx2tf_lite.tools.sio4onnx import io_change as io_change
