"""A worker process: ``socket_worker.py PORT SHARD CREDENTIALS [sleeps]``."""

import pickle
import sys
import time

import numpy as np

from sparknet.transport import Hello, Limits, Result, serve


def do(body, exactly, is_wanted):
    if "sleeps" in sys.argv:
        print("at work", file=sys.stderr, flush=True)
        while is_wanted():
            time.sleep(0.01)
        return None
    array = np.frombuffer(body, "f4") * np.float32(1.1)
    return Result(exactly or 7, [array[i : i + 10_000].tobytes() for i in range(0, len(array), 10_000)])


if __name__ == "__main__":
    port, shard, credentials = sys.argv[1:4]
    serve(
        ("127.0.0.1", int(port)),
        Hello(int(shard)),
        secret=pickle.loads(bytes.fromhex(credentials)),
        do=do,
        limits=Limits(beat=0.5, silence=60.0),
    )
