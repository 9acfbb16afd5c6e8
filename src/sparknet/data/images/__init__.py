"""Images: encoded ones to pixels, and what a folder, a tar file or a label file says of them.

``decoder`` is the one module that imports Pillow; ``limits`` refuses what would take it too long. ``folders``, ``tars`` and
``labels`` know files by their names, and run in Spark's tasks too. ``encoded`` is the field whose values are decoded as rows are
read, ``sets`` the data sets that have a name. The step that decodes a minibatch, ``Decode``, is in
:mod:`sparknet.data.preprocess`.
"""

from sparknet.data.images.decoder import ImageDecoder, resize_images

__all__ = ["ImageDecoder", "resize_images"]
