"""Claim: a message costs what its memory traffic costs.

Parts and views take the same time whatever the size of the tensors. Writing into a kept buffer costs a copy, new memory what the
kernel takes to clear it, files what the kernel takes to copy them; many small tensors cost Python's time for each. Tensors of torch on
the CPU, where it is installed, are written and received for what numpy's cost; many small ones are written in at most twice that and
received in at most two and a half times, since torch is asked more of what is written to.
Checksums cost less than half a copy more where the elements are copied anyway. Each of the seventeen targets is printed
with what was measured and whether it is met; without checksums, whose cost stands beside.

Every method is run in turn, round after round, in one process, and its minimum is divided by that of a warm copy
(``numpy.copyto`` between two kept buffers) of the same size. What a method returns is dropped before the next begins. For the large
size each turn is two calls: a virtual machine may have given memory that was free for a while back to its host, and the
first call that takes it pays for that, not for what it does.
Peers that are not installed are left out. How fresh memory is given out decides much of what new bytes cost, so the mode of
transparent huge pages is printed.

What not to conclude: anything about a network or a disk (files are in the page cache), or about a machine with other caches.
Large tensors are copied on up to four cores; where all are busy the figures for 244 MB grow by half.

    python bench/bench_serialization.py [--sizes lenet,alexnet,many] [--rounds 5] [--alone] [--json FILE] [--plot FILE]
"""

import argparse
import gc
import json
import os
import platform
import socket
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
from serialization_peers import peers

import sparknet
from sparknet.serialization import verify
from sparknet.serialization.message import plans

SEED = 7
LENET = [(20, 1, 5, 5), (20,), (50, 20, 5, 5), (50,), (500, 800), (500,), (10, 500), (10,)]
ALEXNET = [
    *((96, 3, 11, 11), (96,), (256, 48, 5, 5), (256,), (384, 256, 3, 3), (384,), (384, 192, 3, 3), (384,)),
    *((256, 192, 3, 3), (256,), (4096, 9216), (4096,), (4096, 4096), (4096,), (1000, 4096), (1000,)),
]
SIZES = {"lenet": LENET, "alexnet": ALEXNET, "many": [(1000,)] * 2000}
LABELS = {"lenet": "LeNet, 1.7 MB", "alexnet": "AlexNet, 244 MB", "many": "2,000 x 1,000 floats"}
HOT = 200  # calls in a row, for what takes microseconds


def tensors_of(shapes):
    """Float32 tensors of these shapes, by name."""
    rng = np.random.default_rng(SEED)
    return {f"layer{i}": rng.standard_normal(shape, dtype=np.float32) for i, shape in enumerate(shapes)}


# ------------------------------------------------------------------------------------------- methods


def baselines(nbytes, directory):
    """What the machine can do with as many bytes."""
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    view = memoryview(source)
    path = Path(directory) / "raw"

    def write():
        with path.open("wb", buffering=0) as file:
            file.write(view)
            file.flush()
            os.fsync(file.fileno())

    return {
        "copy": lambda: np.copyto(target, source),
        "read": source.max,  # the limit of whatever has to read every byte; what the maximum is does not matter
        "fresh bytes()": lambda: bytes(view),
        "raw file": write,
        "raw socket": lambda: over_a_socket(lambda end: end.sendall(view), lambda end: receive_raw(end, target)),
    }


def ours(tensors, directory):
    """What sparknet does, without checksums and with."""
    path = Path(directory)
    codec, bare = sparknet.serialization.Codec(tensors), sparknet.serialization.Codec(tensors, checksum=False)
    kept = np.zeros(codec.nbytes, np.uint8)
    live = {name: np.zeros_like(array) for name, array in tensors.items()}
    found = {}
    for sums in False, True:
        message = sparknet.dumps(tensors, checksum=sums)
        tag = ", checksums" if sums else ""
        file = path / f"weights{tag}.msg"
        sparknet.save(file, tensors, checksum=sums)
        planned = codec if sums else bare
        found |= {
            f"dump_parts{tag}": lambda s=sums: sparknet.dump_parts(tensors, checksum=s),
            f"dumps_into{tag}": lambda s=sums: sparknet.dumps_into(tensors, kept, checksum=s),
            f"Codec.dumps_into{tag}": lambda c=planned: c.dumps_into(tensors, kept),
            f"dumps{tag}": lambda s=sums: sparknet.dumps(tensors, checksum=s),
            f"Codec.dumps{tag}": lambda c=planned: c.dumps(tensors),
            f"loads{tag}": lambda m=message, s=sums: sparknet.loads(m, verify=s),
            f"loads, first{tag}": lambda m=message, s=sums: loads_first(m, s),
            f"loads, copied{tag}": lambda m=message, s=sums: sparknet.loads(m, copy=True, verify=s),
            f"load_into{tag}": lambda m=message, s=sums: sparknet.serialization.load_into(live, m, verify=s),
            f"save{tag}": lambda f=file, s=sums: sparknet.save(f, tensors, checksum=s),
            f"load, mapped{tag}": lambda f=file, s=sums: sparknet.load(f, verify=s),
            f"load, owned{tag}": lambda f=file, s=sums: sparknet.load(f, mmap=False, verify=s),
            f"socket, load_into{tag}": lambda s=sums: over_a_socket(
                lambda end: sparknet.dump(tensors, end, checksum=s),
                lambda end: sparknet.serialization.load_into(live, end, verify=s),
            ),
            f"socket, iter_load{tag}": lambda s=sums: over_a_socket(
                lambda end: sparknet.dump(tensors, end, checksum=s),
                lambda end: next(sparknet.serialization.iter_load(end, verify=s)),
            ),
        }
    message = sparknet.dumps(tensors)
    for name in "bfloat16", "int8":
        coded = sparknet.dumps(tensors, encoding=name)
        found |= {
            f"dumps, {name}": lambda name=name: sparknet.dumps(tensors, encoding=name),
            f"loads, {name}": lambda m=coded: sparknet.loads(m, verify=True),
        }
    return found | {"verify": lambda: verify(message)} | into_torch(message, tensors)


def into_torch(message, tensors):
    """The same with tensors of torch, with checksums; nothing where torch is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    live = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    return {
        "dumps, torch": lambda: sparknet.dumps(live),
        "loads, torch": lambda: sparknet.loads(message, device="torch:cpu"),
        "load_into, torch": lambda: sparknet.serialization.load_into(live, message),
    }


def loads_first(message, verified):
    """Read a message of a schema that was never met."""
    known = list(plans._read)
    plans._read.clear()
    try:
        return sparknet.loads(message, verify=verified)
    finally:
        plans._read.extend(known)


def over_a_socket(send, receive):
    """Send and receive at the two ends of a loopback TCP connection; return what was received."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as here:
        there, _ = server.accept()
        with there:
            sender = threading.Thread(target=send, args=(here,))
            sender.start()
            result = receive(there)
            sender.join()
    return result


def receive_raw(end, target):
    """Fill the target."""
    view = memoryview(target)
    while view:
        view = view[end.recv_into(view) :]


def of_peers(tensors):
    """Both directions of each peer; one that cannot hold these tensors is left out."""
    found = {}
    for name, (write, read) in peers().items():
        message = write(tensors)
        back = read(message)
        assert all(np.array_equal(back[key], array) for key, array in tensors.items()), name
        found[f"{name}, write"] = lambda w=write: w(tensors)
        found[f"{name}, read"] = lambda r=read, m=message: r(m)
    return found


# ----------------------------------------------------------------------------------------- measuring


def measure(methods, rounds, calls):
    """Return the least seconds of each method; in each round all methods have a turn of so many calls."""
    least = dict.fromkeys(methods, float("inf"))
    for _ in range(rounds):
        for name, call in [turn for turn in methods.items() for _ in range(calls)]:
            gc.collect(0)
            begin = time.perf_counter()
            result = call()
            least[name] = min(least[name], time.perf_counter() - begin)
            del result
    return least


def hot(call):
    """Return the least seconds of one call among many in a row."""
    best = float("inf")
    for _ in range(7):
        begin = time.perf_counter()
        for _ in range(HOT):
            call()
        best = min(best, (time.perf_counter() - begin) / HOT)
    return best


def peak(call, nbytes):
    """Return the most memory that a call holds beyond what there was, in sizes of the tensors."""
    tracemalloc.start()
    result = call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return most / nbytes


def run(size, rounds, directory, *, with_peers):
    """Return what the methods take for one size."""
    tensors = tensors_of(SIZES[size])
    nbytes = sum(array.nbytes for array in tensors.values())
    own = ours(tensors, directory)
    repetitions, calls = (rounds, 2) if nbytes > 1 << 26 else (20 * rounds, 1)
    others = of_peers(tensors) if with_peers else {}
    seconds = measure(baselines(nbytes, directory) | own | others, repetitions, calls)
    message = sparknet.dumps(tensors)
    often = {"dump_parts": own["dump_parts"], "loads": lambda: sparknet.loads(message)}
    return {
        "size": size,
        "bytes": nbytes,
        "tensors": len(tensors),
        "overhead": (len(message) - nbytes - sum(map(len, tensors))) / len(tensors),
        "seconds": seconds,
        "hot": {name: hot(call) for name, call in often.items()},
        "peak": {name: peak(own[name], nbytes) for name in PEAKS},
    }


# ------------------------------------------------------------------------------------------- targets

# what is measured for peak memory -> how many times the tensors it may hold
PEAKS = {
    "dump_parts": 0, "save": 0, "loads": 0, "load, mapped": 0, "load_into": 0,
    "dumps_into": 0, "dumps": 1, "loads, copied": 1, "load, owned": 1,
}  # fmt: skip


def targets(results):
    """Yield (number, what, target, got without checksums, got with them, unit) for the sizes that were measured."""
    if "alexnet" in results:
        yield from of_alexnet(results["alexnet"])
    if "many" in results:
        got = results["many"]["seconds"]
        yield 10, "2,000 small: dumps", 6, *both(got, "dumps"), "copies"
        yield 10, "2,000 small: Codec.dumps", 3.3, *both(got, "Codec.dumps"), "copies"
        yield 10, "2,000 small: Codec.dumps_into", 3.3, *both(got, "Codec.dumps_into"), "copies"
        yield 10, "2,000 small: first loads", 4.6, *both(got, "loads, first"), "copies"
        yield 10, "2,000 small: loads", 3.4, *both(got, "loads"), "copies"
    if "lenet" in results:
        got = results["lenet"]["seconds"]
        yield 11, "LeNet: dumps_into", 1.25, *both(got, "dumps_into"), "copies"
        yield 11, "LeNet: loads, hot", 10, results["lenet"]["hot"]["loads"] * 1e6, None, "us"
    for size, mosts in ("alexnet", (1.2, 1.2)), ("many", (2, 2.5)):
        got = results[size]["seconds"] if size in results else {}
        for name, most in zip(("dumps", "load_into"), mosts, strict=True):
            if f"{name}, torch" in got:
                ratio = got[f"{name}, torch"] / got[f"{name}, checksums"]
                yield 17, f"{name} of torch, to numpy, {size}", most, None, ratio, "x"
    for size, result in results.items():
        yield 12, f"bytes for each tensor but its name, {size}", 85, None, result["overhead"], "bytes"


def of_alexnet(result):
    """Yield the targets for 244 MB."""
    got = result["seconds"]
    yield 1, "dump_parts", 0.01, *both(got, "dump_parts"), "copies"
    yield 2, "dumps_into a kept buffer", 1.1, *both(got, "dumps_into"), "copies"
    yield 3, "dumps, fresh memory", 2.0, *both(got, "dumps"), "copies"
    yield 4, "dumps, to a fresh bytes()", 1.15, *both(got, "dumps", "fresh bytes()"), "x"
    yield 5, "loads, views, cold", 0.2, got["loads"] * 1e3, None, "ms"
    yield 5, "loads, views, hot", 20, result["hot"]["loads"] * 1e6, None, "us"
    yield 6, "loads(copy=True)", 1.6, *both(got, "loads, copied"), "copies"
    yield 7, "save, to a raw write and fsync", 1.2, *both(got, "save", "raw file"), "x"
    yield 8, "load, mapped", 0.5, got["load, mapped"] * 1e3, None, "ms"
    yield 9, "load, owned", 4.2, *both(got, "load, owned"), "copies"
    for name, most in PEAKS.items():
        yield 13, f"peak memory of {name}", most + 0.01, result["peak"][name], None, "sizes"
    yield 14, "load_into from a socket, to a raw one", 1.2, *both(got, "socket, load_into", "raw socket"), "x"
    for name in "dumps_into", "loads, copied", "load_into":
        extra = (got[f"{name}, checksums"] - got[name]) / got["copy"]
        yield 16, f"checksums of {name}", 0.4, None, extra, "copies"
    yield 16, "checksums alone (verify)", 0.4, None, got["verify"] / got["copy"], "copies"
    yield 16, "checksums alone, to reading alone", 1.1, None, got["verify"] / got["read"], "x"


def both(seconds, name, baseline="copy"):
    """Return the ratios without checksums and with them."""
    return seconds[name] / seconds[baseline], seconds[f"{name}, checksums"] / seconds[baseline]


# -------------------------------------------------------------------------------------------- output


def show(result):
    """Print one size as a table."""
    seconds = result["seconds"]
    print(f"\n{LABELS[result['size']]}: {result['tensors']} tensors, {result['overhead']:.0f} bytes more for each "
          f"than elements and name; hot: " + ", ".join(f"{k} {v * 1e6:.0f} us" for k, v in result["hot"].items()))  # fmt: skip
    for name, value in seconds.items():
        print(f"  {name:<32} {value * 1e3:>10.3f} ms {value / seconds['copy']:>9.3f} copies")


def show_targets(rows):
    """Print each target, what was got and whether it is met; the verdict is on the figure the target is for."""
    print(f"\n{'target':<50} {'at most':>8} {'got':>9} {'':<4} {'checksums':>9}")
    for number, what, most, bare, summed, unit in rows:
        judged = summed if bare is None else bare
        verdict = "ok" if judged <= most else "MISS"
        beside = "" if bare is None or summed is None else f"{summed:9.3f}"
        print(f"{number:>2} {what:<47} {most:>8.2f} {judged:>9.3f} {verdict:<4} {beside:>9} {unit}")
    print("15 hostile input: tests/serialization/test_hostile.py, one test for each class")


def plot(results, path):
    """Draw what each way takes, in copies, one panel for each size."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "sparknet"
    figure, axes = plt.subplots(1, len(results), figsize=(4.4 * len(results), 4.8), layout="constrained", sharey=True)
    first = next(iter(results.values()))["seconds"]
    names = [name.removesuffix(", write") for name in first if name.endswith(", write")]
    for panel, (size, result) in zip(np.atleast_1d(axes), results.items(), strict=True):
        seconds = result["seconds"]
        rows = [("sparknet dumps / loads", seconds["dumps"], seconds["loads"])]
        rows.append(("sparknet kept buffer", seconds["dumps_into"], seconds["loads"]))
        rows += [(name, seconds[f"{name}, write"], seconds[f"{name}, read"]) for name in names]
        at = np.arange(len(rows))[::-1]
        panel.barh(at + 0.2, [write / seconds["copy"] for _, write, _ in rows], 0.4, label="write", color="#4c72b0")
        panel.barh(at - 0.2, [read / seconds["copy"] for *_, read in rows], 0.4, label="read", color="#dd8452")
        panel.set_yticks(at, [name for name, *_ in rows])
        panel.set_xscale("log")
        panel.set_title(LABELS[size])
        panel.set_xlabel("times a warm copy of the bytes")
        panel.axvline(1, color="black", linewidth=0.8)
    np.atleast_1d(axes)[0].legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def machine():
    """Return versions and what of the machine matters here."""
    thp = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "huge pages": thp.read_text(encoding="ascii").strip() if thp.exists() else "unknown",
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "sparknet": sparknet.__version__,
        "machine": platform.machine(),
    }


def main():
    """Run the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZES), help="comma-separated, of: " + ", ".join(SIZES))
    parser.add_argument("--rounds", type=int, default=5, help="20 times as many for small sizes")
    parser.add_argument("--alone", action="store_true", help="leave the peers out")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw them to this file (SVG); needs matplotlib")
    options = parser.parse_args()
    facts = machine()
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        for size in options.sizes.split(","):
            results[size] = run(size, options.rounds, directory, with_peers=not options.alone)
            show(results[size])
    rows = list(targets(results))
    show_targets(rows)
    if options.json:
        figures = {"machine": facts, "results": list(results.values()), "targets": rows}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    sys.exit(main())
