"""``python -m onnx2tf_lite`` is the command ``onnx2tf``."""

import sys

from .cli import main

sys.exit(main())
