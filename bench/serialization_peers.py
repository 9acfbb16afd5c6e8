"""Other ways to turn named float32 arrays into bytes and back, for bench_serialization.py. Each that is installed.

A peer is a pair of functions: tensors -> message, message -> arrays. Those that hand out views do so here.
"""

import importlib
import io
import pickle
import sys

import numpy as np


def peers():
    """Name -> (write, read)."""
    made = {
        "pickle 5": (lambda tensors: pickle.dumps(tensors, protocol=5), pickle.loads),
        "pickle 5, out of band": (_pickle_apart, lambda parts: pickle.loads(parts[0], buffers=parts[1])),
        "np.savez": (_savez, lambda data: dict(np.load(io.BytesIO(data)))),
    }
    for name, package, make in [
        ("safetensors", "safetensors.numpy", lambda module: (module.save, module.load)),
        ("msgpack-numpy", "msgpack_numpy", _msgpack_numpy),
        ("ormsgpack", "ormsgpack", _ormsgpack),
        ("msgspec", "msgspec", _msgspec),
        ("pyarrow record batch", "pyarrow", _pyarrow),
        ("torch.save", "torch", _torch),
    ]:
        try:
            made[name] = make(importlib.import_module(package))
        except ImportError:
            print(f"{name}: {package} is not installed, left out", file=sys.stderr)
    return made


def _pickle_apart(tensors):
    buffers = []
    return pickle.dumps(tensors, protocol=5, buffer_callback=buffers.append), buffers


def _savez(tensors):
    file = io.BytesIO()
    np.savez(file, **tensors)
    return file.getvalue()


def _msgpack_numpy(module):
    import msgpack

    return (
        lambda tensors: msgpack.packb(tensors, default=module.encode),
        lambda data: msgpack.unpackb(data, object_hook=module.decode),
    )


def _rows(tensors):
    return {name: (array.dtype.str, array.shape, array.data.cast("B")) for name, array in tensors.items()}


def _arrays(rows):
    return {name: np.frombuffer(data, dtype).reshape(shape) for name, (dtype, shape, data) in rows.items()}


def _ormsgpack(module):
    return lambda tensors: module.packb(_rows(tensors)), lambda data: _arrays(module.unpackb(data))


def _msgspec(module):
    decoder = module.msgpack.Decoder(dict[str, tuple[str, tuple[int, ...], memoryview]])
    return lambda tensors: module.msgpack.encode(_rows(tensors)), lambda data: _arrays(decoder.decode(data))


def _pyarrow(pa):
    def write(tensors):
        columns = [
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(array.nbytes), 1, [None, pa.py_buffer(array)])
            for array in tensors.values()
        ]
        fields = [
            pa.field(name, column.type, metadata={"shape": ",".join(map(str, array.shape))})
            for (name, array), column in zip(tensors.items(), columns, strict=True)
        ]
        batch = pa.record_batch(columns, schema=pa.schema(fields))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return sink.getvalue()

    def read(data):
        batch = pa.ipc.open_stream(data).read_next_batch()
        shapes = [tuple(map(int, field.metadata[b"shape"].split(b","))) for field in batch.schema]
        return {
            name: np.frombuffer(column.buffers()[1], np.float32).reshape(shape)
            for name, column, shape in zip(batch.schema.names, batch.columns, shapes, strict=True)
        }

    return write, read


def _torch(torch):
    def write(tensors):
        file = io.BytesIO()
        torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, file)
        return file.getbuffer()

    return write, lambda data: {k: v.numpy() for k, v in torch.load(io.BytesIO(data), weights_only=True).items()}
