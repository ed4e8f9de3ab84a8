from onnx2tf_lite.tools.svs4onnx import variable_switch as variable_switch
