"""scikit-learn, with ``array_api_dispatch=True``: what is fitted on an NDArray gives NDArrays, and metrics take them."""

import numpy as np
import pytest
from later import Later

from sparknet import NDArray, nd

sklearn, cluster, decomposition = map(Later, "sklearn sklearn.cluster sklearn.decomposition".split())
linear_model, metrics, model_selection = map(
    Later, "sklearn.linear_model sklearn.metrics sklearn.model_selection".split()
)
neighbors, pipeline, preprocessing = map(Later, "sklearn.neighbors sklearn.pipeline sklearn.preprocessing".split())


@pytest.fixture
def dispatch():
    with sklearn.config_context(array_api_dispatch=True):
        yield


@pytest.fixture
def table(numbers):
    return numbers.reshape(12, 5)


TRANSFORMERS = {
    "Binarizer": lambda: preprocessing.Binarizer(threshold=0.5),
    "MaxAbsScaler": lambda: preprocessing.MaxAbsScaler(),
    "MinMaxScaler": lambda: preprocessing.MinMaxScaler(),
    "Normalizer": lambda: preprocessing.Normalizer(),
    "PolynomialFeatures": lambda: preprocessing.PolynomialFeatures(2),
    "RobustScaler": lambda: preprocessing.RobustScaler(),
    "StandardScaler": lambda: preprocessing.StandardScaler(),
    "PCA": lambda: decomposition.PCA(2, svd_solver="full"),
    "a pipeline": lambda: pipeline.make_pipeline(preprocessing.MinMaxScaler(), decomposition.PCA(2, svd_solver="full")),
}


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("transformer", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_transformers_give_ndarrays(transformer, table, same):
    # StandardScaler divides 0 by 0 and drops the result; it silences the warning for numpy's own arrays only
    with np.errstate(invalid="ignore"):
        same(lambda x: transformer().fit_transform(x), table)


@pytest.mark.usefixtures("dispatch")
def test_what_a_transformer_learned_are_ndarrays_and_its_inverse_is_its_inverse(table):
    scaler = preprocessing.MinMaxScaler().fit(nd.asarray(table))
    assert type(scaler.data_min_) is NDArray
    back = scaler.inverse_transform(scaler.transform(nd.asarray(table)))
    assert back.allclose(table, tol=4 * np.finfo(float).eps)  # a difference, a quotient, a product and a sum below 1


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("solver", ["full", "covariance_eigh"])
def test_principal_components_of_an_ndarray_are_ndarrays(solver, table):
    found = decomposition.PCA(2, svd_solver=solver).fit(nd.asarray(table))
    expected = decomposition.PCA(2, svd_solver=solver).fit(table)
    assert type(found.components_) is type(found.mean_) is NDArray
    assert found.explained_variance_.allclose(expected.explained_variance_, tol=1e-12)


@pytest.mark.usefixtures("dispatch")
def test_linear_models_predict_ndarrays(table, same):
    target = table @ np.arange(5.0)
    for model in (linear_model.Ridge(solver="svd"), linear_model.LinearRegression()):
        same(lambda x, y, model=model: sklearn.clone(model).fit(x, y).predict(x), table, target)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("name", "accuracy_score f1_score precision_score recall_score zero_one_loss".split())
def test_metrics_of_classes_take_ndarrays(name, numbers):
    truth, guess = (numbers > 0.5).astype("int64"), (numbers[::-1] > 0.4).astype("int64")
    metric = getattr(metrics, name)
    assert metric(nd.asarray(truth), nd.asarray(guess)) == metric(truth, guess)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("name", "max_error mean_absolute_error mean_squared_error r2_score".split())
def test_metrics_of_numbers_take_ndarrays(name, numbers):
    metric = getattr(metrics, name)
    got = metric(nd.asarray(numbers), nd.asarray(numbers**2))
    assert got == pytest.approx(metric(numbers, numbers**2), rel=1e-12)


@pytest.mark.usefixtures("dispatch")
def test_distances_and_splits_of_ndarrays_are_ndarrays(table, same):
    same(metrics.pairwise.euclidean_distances, table)
    same(lambda x: model_selection.train_test_split(x, random_state=0), table)


OTHERS = {
    "KMeans": (lambda: cluster.KMeans(2, n_init=1, random_state=0), lambda fitted, _x: fitted.cluster_centers_),
    "KNeighborsClassifier": (lambda: neighbors.KNeighborsClassifier(3), lambda fitted, x: fitted.predict_proba(x)),
}


@pytest.mark.parametrize(("estimator", "result"), OTHERS.values(), ids=OTHERS)
def test_estimators_that_do_not_dispatch_take_ndarrays_as_numpy_arrays_without_dispatch(estimator, result, table, same):
    same(
        lambda x, y: result(estimator().fit(x, y), x),
        table,
        (table[:, 0] > 0.5).astype("int64"),
        returns=np.ndarray,
    )


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(("estimator", "result"), OTHERS.values(), ids=OTHERS)
def test_estimators_that_do_not_dispatch_refuse_ndarrays_under_dispatch_unless_a_release_has_learnt_it(
    estimator, result, table, same
):
    def fit(x, y):
        return result(estimator().fit(x, y), x)

    arrays = table, (table[:, 0] > 0.5).astype("int64")
    try:
        fit(*map(nd.asarray, arrays))
    except AttributeError as error:
        assert "'NDArray' object has no attribute" in str(error)  # noqa: PT017 -- either is right
    else:
        same(fit, *arrays)
