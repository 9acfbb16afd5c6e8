"""Driver and worker prove that they know the secret: nothing else, and nothing that was recorded, is taken for a proof."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet.errors import ClusterError
from sparknet.transport.handshake import DriverHandshake, WorkerHandshake, new_secret

SECRET = new_secret()


def changed(data, place):
    """Return bytes with one bit changed."""
    place %= 8 * len(data)
    other = bytearray(data)
    other[place // 8] ^= 1 << place % 8
    return bytes(other)


@given(st.integers(0, 10**6))
def test_a_proof_with_any_bit_changed_proves_neither_side(place):
    worker, driver = WorkerHandshake(SECRET), DriverHandshake(SECRET)
    answer = driver.answer(worker.greeting())
    with pytest.raises(ClusterError, match="does not know the secret"):
        worker.proof(changed(answer, place))
    with pytest.raises(ClusterError, match="does not know the secret"):
        driver.check(changed(worker.proof(answer), place))


def test_another_secret_proves_neither_side():
    worker, driver = WorkerHandshake(new_secret()), DriverHandshake(SECRET)
    answer = driver.answer(worker.greeting())
    with pytest.raises(ClusterError):
        worker.proof(answer)
    first, second = WorkerHandshake(SECRET), DriverHandshake(SECRET)
    with pytest.raises(ClusterError):
        driver.check(first.proof(second.answer(first.greeting())))  # right, on another connection


def test_the_proof_of_one_side_is_none_of_the_other():
    worker, driver = WorkerHandshake(SECRET), DriverHandshake(SECRET)
    answer = driver.answer(worker.greeting())
    with pytest.raises(ClusterError):
        driver.check(answer[32:])  # the driver's own proof, sent back
