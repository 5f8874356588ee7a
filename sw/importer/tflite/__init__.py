"""TensorFlow Lite int8 models to the integer graph.

``file`` decodes the flatbuffer, ``reader`` walks the operators, one module for each family of
operators imports them. Feature maps and drafts are those of the ONNX importer; only what TFLite's
kernels compute differently has drafts of its own.
"""

from systolith.sw.importer.tflite.reader import import_tflite

__all__ = ["import_tflite"]
