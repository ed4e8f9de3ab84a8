"""ONNX to TensorFlow Lite and SavedModel."""
