"""The written files, each format as the check needs it.

``written``          what every kind of file answers, and the runtimes that run it
``opening``          which kind lies at a path: a ``tflite_file``, a ``tensorflow_file``, a ``mapped_file``
``parted``           a file as tensors, operators and layers: ``flatfile`` of a .tflite, ``graph_file`` of TensorFlow
``extracted``        operators of a .tflite as a model of their own, made of its tables where they lie (``flatbuffer``)
``program``          where the tensors of the model are in a file
``quantised``        what integers inside are asked beside their distance; ``integers`` counts them
``profile``          what the time of a .tflite is made of
"""
