"""What a round costs by each way of the bytes, as a few numbers: what :mod:`round_model` simulates rounds with.

- :func:`job_per_round`: a Spark job for each round; broadcast out, ``collect`` back, through the pipes between JVM and Python.
- :func:`star`: each worker is connected to the driver, which sends the weights to each and pulls the results slice by slice.
- :func:`sliced`: the driver sends each worker a part, workers get the other parts from each other, and each combines its part of all results.
"""

import math
from dataclasses import dataclass

BLOCK = 4 << 20  # bytes of a block of Spark's broadcast


@dataclass(frozen=True)
class Costs:
    """What machines and code cost. Times in seconds, bandwidth in bytes a second, costs in seconds a byte.

    The defaults are for a cluster where each worker has a machine of its own. The costs of code are of the kind of machine that the
    docs' other figures are from; ``bench_round_model.py`` measures them anew.
    """

    bandwidth: float = 1.25e9  # of each machine's link, in each direction
    many: float = math.inf  # of all links together, where they are on one machine
    fixed: float = 0.002  # a round of messages without weights: threads that wait for each other
    message: float = 0.0003  # more for each worker: the machine that it is connected to handles its messages one by one
    sent: float = 0.07e-9  # driver, once: the message is made, with its checksum
    loaded: float = 0.35e-9  # worker: the message is checked, and the net takes the weights
    ready: float = 0.35e-9  # worker: the net gives its weights, and whether they are finite is looked at
    sliced: float = 0.1e-9  # worker: checksums, while results are pulled
    combined: float = 0.3e-9  # driver, for each worker: a result is checked and added
    stored: float = 0.3e-9  # driver, once, while results are pulled: the sum is divided and stored
    of_two: float = 0.6e-9  # driver, instead of these two where there are two results: their mean has a way of its own
    looked: float = 0.2e-9  # driver, once, after that: whether the mean is finite
    moved: float = 0.0  # cores, for each byte over a link; it counts where cores are few
    cores: float = math.inf  # of one machine that everything runs on
    job: float = 0.2  # an empty Spark job
    task: float = 0.002  # Spark's scheduler, for each task
    pipe: float = 6e-9  # a byte between JVM and Python, pickled and copied; one way. Of AlexNet's rounds on two executors; not measured apart

    def mean(self, workers):
        """Seconds a byte of the weights for the mean of so many results, of one core of the driver."""
        return self.of_two if workers == 2 else workers * self.combined + self.stored


@dataclass(frozen=True)
class Way:
    """A way of the bytes, for so many workers and bytes: seconds, and (all together, each) bytes a second of links."""

    opening: float  # before weights leave
    out: tuple[float, float]
    messages: float  # between the weights for one worker and for the next
    loaded: float  # of one core
    ready: float  # of one core
    back: tuple[float, float] | None  # results go back one by one; None: all at once in the closing
    closing: float  # from when all are there until the round has ended
    cores: float
    part: float = 0.0  # bytes that each worker has of the weights by then, for all others too; 0: none needs another


def star(costs, workers, nbytes):
    """Each worker is connected to the driver."""
    link, moved, mean = min(costs.many, costs.bandwidth), workers * nbytes, costs.mean(workers)
    pulled = max(
        moved / link,
        nbytes * costs.sliced,
        nbytes * mean,
        (moved * (costs.moved + costs.sliced) + nbytes * mean) / costs.cores,
    )
    messages = costs.message / 2
    return Way(
        opening=costs.fixed / 2 + nbytes * costs.sent,
        out=(min(link, _moved(costs)), costs.bandwidth),
        messages=messages,
        loaded=nbytes * costs.loaded,
        ready=nbytes * costs.ready,
        back=None,
        closing=costs.fixed / 2 + workers * messages + pulled + nbytes * costs.looked,
        cores=costs.cores,
    )


def sliced(costs, workers, nbytes):
    """Each worker gets a part of the weights from the driver and the others from their workers, and combines that part of all results.

    Four phases follow each other: scatter, train, combine, collect. The driver's link carries the weights twice, whatever the number of
    workers; that of a worker carries them hardly twice in each direction.
    """
    link, total = min(costs.many, costs.bandwidth), min(costs.many, workers * costs.bandwidth)
    part = nbytes / workers
    rest, mean = nbytes - part, costs.mean(workers)  # what a worker needs of the others, of weights and of results
    messages = costs.message / 2
    # where workers ask each other: the driver handles the messages of all, then each of them those of the others
    asked = (2 * workers - 1) * messages
    scattered = max(nbytes / link, nbytes / _moved(costs))
    combined = max(
        workers * rest / total,
        rest / costs.bandwidth,
        nbytes * costs.sliced,
        part * mean,
        (workers * (rest * costs.moved + nbytes * costs.sliced) + nbytes * mean) / costs.cores,
    )
    # the driver checks what comes and stores it, as it checks and adds a result
    collected = max(
        nbytes / link, nbytes * costs.combined, nbytes * (costs.moved + costs.sliced + costs.combined) / costs.cores
    )
    return Way(
        opening=costs.fixed + nbytes * costs.sent + scattered + asked,
        out=(min(total, _moved(costs)), costs.bandwidth),
        messages=messages,
        loaded=nbytes * costs.loaded,
        ready=nbytes * costs.ready,
        back=None,
        closing=costs.fixed + asked + combined + workers * messages + collected + nbytes * costs.looked,
        cores=costs.cores,
        part=part,
    )


def _moved(costs):
    """Bytes a second that the cores can bring over links."""
    return costs.cores / costs.moved if costs.moved else math.inf


def job_per_round(costs, workers, nbytes):
    """A Spark job for each round. Blocks of the broadcast go from executor to executor; results all go to the driver."""
    hops = 1 + math.log2(workers + 1) * min(BLOCK, nbytes) / nbytes
    return Way(
        opening=costs.job + nbytes * costs.pipe,
        out=(math.inf, costs.bandwidth / hops),
        messages=costs.task,
        loaded=nbytes * costs.pipe,
        ready=nbytes * costs.pipe,
        back=(min(costs.many, costs.bandwidth), costs.bandwidth),
        # the driver's pipe, one result after the other
        closing=workers * nbytes * costs.pipe + nbytes * (costs.stored + costs.looked),
        cores=costs.cores,
    )


def undisturbed(way, workers, nbytes):
    """Seconds of the exchange where all workers are alike."""
    (total, each), got = way.out, nbytes - way.part
    return way.opening + workers * way.messages + max(workers * got / total, got / each) + way.closing
