"""Model files to the integer graph.

``load`` reads files and quantises float models, ``reader`` walks the nodes, one module for each
family of operators imports them, ``builder`` keeps the feature maps and ``drafts`` the
operations until every scale is known. ``tflite`` is the same for TensorFlow Lite.
"""

from systolith.sw.importer.load import load_model
from systolith.sw.importer.reader import import_onnx

__all__ = ["import_onnx", "load_model"]
