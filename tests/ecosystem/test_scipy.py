"""scipy, with ``SCIPY_ARRAY_API=1``: NDArrays in, the same values out, as NDArrays wherever scipy keeps the type."""

import numpy as np
import pytest
from later import Later

from sparknet import NDArray

cluster, fft, integrate, interpolate, linalg = map(
    Later, "scipy.cluster scipy.fft scipy.integrate scipy.interpolate scipy.linalg".split()
)
ndimage, optimize, signal, spatial = map(Later, "scipy.ndimage scipy.optimize scipy.signal scipy.spatial".split())
special, stats = Later("scipy.special"), Later("scipy.stats")


def each(functions):
    """Parametrize over a mapping, or over the names of functions of a module."""
    return pytest.mark.parametrize("function", functions.values(), ids=functions)


def named(module, names):
    """Return name -> function of a module, which is imported when the function is called."""
    return {
        name: lambda *arrays, name=name, **options: getattr(module, name)(*arrays, **options) for name in names.split()
    }


@each(named(special, "digamma entr erf erfc expit gamma gammaln i0 i1 log_ndtr logit ndtr ndtri sinc"))
def test_special_functions_return_ndarrays(function, numbers, same):
    same(function, numbers)


@each(named(special, "betaln binom gammainc gammaincc kl_div rel_entr xlogy zeta"))
def test_special_functions_of_two_arrays_return_ndarrays(function, numbers, same):
    same(function, numbers + 1.5, numbers + 1.2)


@each(named(special, "log_softmax logsumexp softmax"))
def test_reductions_of_special_return_ndarrays(function, numbers, same):
    same(lambda x: function(x, axis=1), numbers.reshape(12, 5))


@pytest.mark.parametrize("name", "beta expm1 hyp2f1 jv log1p".split())
def test_special_functions_that_are_plain_ufuncs_return_ndarrays(name, numbers, same):
    function = getattr(special, name)
    same(function, *[numbers] * function.nin)


@each(
    named(
        stats,
        """circmean circstd describe differential_entropy entropy gmean hmean iqr jarque_bera kstat kurtosis lmoment
        median_abs_deviation mode normaltest rankdata sem skew skewtest tmean tvar variation zscore""",
    )
)
def test_statistics_and_tests_of_one_sample_return_ndarrays(function, numbers, same):
    same(function, numbers)


@each(named(stats, "gmean kurtosis sem skew zscore"))
def test_statistics_along_an_axis_return_ndarrays(function, numbers, same):
    same(lambda x: function(x, axis=1), numbers.reshape(12, 5))


@each(named(stats, "bartlett f_oneway kruskal levene mannwhitneyu pearsonr ttest_ind ttest_rel wilcoxon"))
def test_tests_of_two_samples_return_ndarrays(function, numbers, same):
    same(function, numbers, numbers[::-1] ** 2)


@each(
    {
        **named(signal, "convolve correlate fftconvolve oaconvolve"),
        "convolve direct": lambda x, kernel: signal.convolve(x, kernel, method="direct"),
        "lfilter": lambda x, kernel: signal.lfilter(kernel, kernel[:1], x),
        "filtfilt": lambda x, kernel: signal.filtfilt(kernel, kernel[:1], x),
        "upfirdn": lambda x, kernel: signal.upfirdn(kernel, x),
    }
)
def test_filters_with_a_kernel_return_ndarrays(function, numbers, same):
    same(function, numbers, numbers[:4])


@each(
    {
        **named(signal, "detrend hilbert medfilt envelope"),
        "resample": lambda x: signal.resample(x, 20),
        "resample_poly": lambda x: signal.resample_poly(x, 2, 3),
        "savgol_filter": lambda x: signal.savgol_filter(x, 5, 2),
    }
)
def test_filters_of_signals_return_ndarrays(function, numbers, same):
    same(function, numbers)


@each(
    {
        "gaussian_filter": lambda image: ndimage.gaussian_filter(image, 1.0),
        "label": lambda image: ndimage.label(image > 0.5)[0],
        "rotate": lambda image: ndimage.rotate(image, 30.0),
        "sobel": lambda x: ndimage.sobel(x),
        "uniform_filter": lambda image: ndimage.uniform_filter(image, 3),
        "zoom": lambda image: ndimage.zoom(image, 2.0),
    }
)
def test_filters_of_images_return_ndarrays(function, numbers, same):
    same(function, numbers.reshape(6, 10))


@each(named(fft, "dct dst fft fft2 fftn fftshift hfft ifft rfft rfftn"))
def test_fourier_transforms_return_ndarrays(function, numbers, same):
    same(function, numbers.reshape(6, 10))


@each(
    {
        "cluster.vq.vq": lambda x: cluster.vq.vq(x, x[:3, :])[0],
        "cluster.vq.whiten": lambda x: cluster.vq.whiten(x),
        "integrate.cumulative_trapezoid": lambda x: integrate.cumulative_trapezoid(x),
        "integrate.trapezoid": lambda x: integrate.trapezoid(x),
        "interpolate.CubicSpline": lambda x: interpolate.CubicSpline(x[:, 0], x[:, 1])(x[:, 2]),
        "linalg.block_diag": lambda x: linalg.block_diag(x),
        "optimize.rosen": lambda x: optimize.rosen(x),
        "spatial.distance.pdist": lambda x: spatial.distance.pdist(x),
        "spatial.transform.Rotation": lambda x: spatial.transform.Rotation.from_rotvec(x[:, :3]).as_matrix(),
    }
)
def test_functions_of_other_packages_return_ndarrays(function, numbers, same):
    same(function, np.sort(numbers).reshape(12, 5))


@each(
    {
        **named(linalg, "det eigh inv qr svd"),
        "linalg.solve": lambda x: linalg.solve(x, x[0, :]),
        "signal.find_peaks": lambda x: signal.find_peaks(x[:, 0])[0],
        "signal.welch": lambda x: signal.welch(x[:, 0], nperseg=4),
        "spatial.distance.cdist": lambda x: spatial.distance.cdist(x, x),
        "stats.linregress": lambda x: tuple(stats.linregress(x[:, 0], x[:, 1])),
        "stats.spearmanr": lambda x: stats.spearmanr(x[:, 0], x[:, 1]),
    }
)
def test_what_scipy_computes_in_numpy_takes_ndarrays_and_returns_either(function, numbers, same):
    rows = numbers.reshape(12, 5)
    # each release of scipy moves functions from numpy to the namespace of their input, and NDArrays come back from them
    same(function, rows.T @ rows + np.eye(5), returns=(np.ndarray, np.floating, NDArray))
