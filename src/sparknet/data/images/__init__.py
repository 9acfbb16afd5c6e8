"""Images: decoding, and the files that images and their labels come in.

``decoder`` is the only module that imports Pillow; ``limits`` refuses files that would take it too long. ``folders``, ``tars`` and
``labels`` read what images come in, also in Spark's tasks. ``encoded`` has the field whose values are decoded when rows are read,
``sets`` the data sets with a name. The step that decodes a minibatch, ``Decode``, is in :mod:`sparknet.data.preprocess`.
"""

from sparknet.data.images.decoder import ImageDecoder, resize_images

__all__ = ["ImageDecoder", "resize_images"]
