"""CaffeNet: nets that Caffe trains, from any solver prototxt. The home of ``caffe`` in the project.

``runtime`` imports Caffe, ``prototxt``, ``layers`` and ``schedule`` read and check definitions, ``feed`` fills
inputs, ``state`` reads and sets a solver's state, ``net`` puts them together. Nothing imports Caffe before a net or
a factory is made.
"""

from sparknet.nets.caffe.net import CaffeFactory, CaffeNet

__all__ = ["CaffeFactory", "CaffeNet"]
