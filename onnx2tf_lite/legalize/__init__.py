"""Legalisation: from what ONNX means to what the kernels of TFLite take.

``dtypes``     the dtype policy: casts around kernels     ``uint64``   on int64 kernels
``infinities`` -inf in sums                               ``ranks``    merging axes where a kernel's rank is limited
``stored``     integers that stand for real numbers       ``dynamic``  run-time shapes from symbolic ones
``sums``       long ones in steps
"""
