"""cupy.fft."""

import numpy as np

from cupy._core.kernel import kernel

__all__ = """
    fft fft2 fftfreq fftn fftshift hfft ifft ifft2 ifftn ifftshift ihfft irfft irfft2 irfftn rfft rfft2 rfftfreq rfftn
""".split()
globals().update({name: kernel(getattr(np.fft, name)) for name in __all__})
