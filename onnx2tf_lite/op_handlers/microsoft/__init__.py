# ruff: noqa: F401 (importing a family registers its handlers)
"""Operators of ONNX Runtime, domain ``com.microsoft``: what its graph optimiser, quantiser and exporters write.

Defined by ONNX Runtime's operator schemas and, where these are silent, by what its CPU kernels compute.  Like all
handlers these know nothing of layout; a channels-last operator is the standard one between two transposes.

``fused``        convolutions and products with an activation, residual, bias or transpose fused in; pools
``transformer``  normalisations, attention, rotary and token embeddings
``grouped``      attention of decoders with a cache, whose key heads serve several queries
``decoder``      attention of one new token with a cache of keys and values
``quantized``    dequantise, compute, quantise; products of quantised operands
``blocks``       weights of 2, 4 or 8 bits in blocks with a scale each
``standard``     older or narrower spellings of operators that ONNX has, and a few of their own
"""

from . import blocks, decoder, fused, grouped, quantized, standard, transformer
