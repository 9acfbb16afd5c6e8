"""Files of other programs, recognized by their first bytes or by the ends of their names. For the texts of errors only."""

from pathlib import Path

_READ = "sparknet.formats.read(path) reads it, describe(path) lists it"
_PICKLE = "which can run code and is never read here: load it with the program that wrote it, and dumps() its arrays"

# how it begins -> what it looks like, and what to do
_SIGNS = (
    (b"\x93NUMPY", f"a .npy file of numpy: {_READ}"),
    (b"PK\x03\x04", f"a ZIP archive; of an .npz or a file of torch.save, {_READ}"),
    (b"\x80\x02\x8a\nl\xfc\x9cF", f"a file of torch.save: {_READ}"),
    (b"\x1f\x8b", "gzip: load(gzip.open(path)), if there is a message inside"),
    (b"BZh", "bzip2: load(bz2.open(path)), if there is a message inside"),
    (b"\xfd7zXZ", "xz: load(lzma.open(path)), if there is a message inside"),
    (b"\x28\xb5\x2f\xfd", "zstd: decompress it first, if there is a message inside"),
    (b"\x04\x22\x4d\x18", "an LZ4 frame: decompress it first, if there is a message inside"),
    (b"\x89HDF", f"HDF5; of Caffe's .caffemodel.h5 and .solverstate.h5, {_READ}"),
    (b"\xff\xd8\xff", "a JPEG image: sparknet.data reads images"),
    (b"\x89PNG", "a PNG image: sparknet.data reads images"),
    (b"PAR1", "Parquet: read it with Spark or pyarrow"),
    (b"ARROW1", "Arrow: read it with pyarrow"),
    *((b"\x80" + bytes([protocol]), f"a pickle, {_PICKLE}") for protocol in (2, 3, 4, 5)),
)
_PROTOBUF = (b"\x0a", b"\x12", b"\xa2\x06", b"\x08")  # name, layers, layer, iter
# endings of files of other programs -> what writes such a file
_COMPRESS = (
    "with {0}.open(path, 'wb') as file: dump(obj, file) writes such a file, compression='zstd' a smaller message"
)
_OTHERS = (
    *(".onnx", ".keras", ".tflite", ".pb", ".mat", ".prototxt"),
    *(".parquet", ".arrow", ".feather", ".json", ".csv", ".txt"),
    *(".png", ".jpg", ".jpeg"),
)
_WRITE = "sparknet.formats.write(path, obj) writes such a file"
_ENDINGS = {
    **dict.fromkeys(
        (
            *(".npy", ".npz", ".safetensors", ".pt", ".pth"),
            *(".caffemodel", ".h5", ".hdf5", ".binaryproto", ".solverstate"),
        ),
        _WRITE,
    ),
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".dill"), "pickle writes such a file"),
    **dict.fromkeys((".gz", ".tgz"), _COMPRESS.format("gzip")),
    ".bz2": _COMPRESS.format("bz2"),
    ".xz": _COMPRESS.format("lzma"),
    **dict.fromkeys((".zst", ".lz4"), "compression='zstd' or 'lz4' writes a message with compressed tensors"),
    **dict.fromkeys((".zip", ".tar"), "dump(obj, file) writes a message to a member of an archive"),
    **dict.fromkeys(_OTHERS, "other programs write such a file"),
}
_TEXT = frozenset(range(32, 127)) | {9, 10, 13}


def likeness(begin: bytes) -> str:
    """Say what bytes look like, and how such are read; nothing where they look like nothing known.

    Examples
    --------
    >>> likeness(bytes.fromhex("934e554d5059"))
    'a .npy file of numpy: sparknet.formats.read(path) reads it, describe(path) lists it'
    """
    for sign, what in _SIGNS:
        if begin.startswith(sign):
            return what
    if 1 < int.from_bytes(begin[:8], "little") < 1 << 32 and begin[8:9] == b"{":
        return f"safetensors: {_READ}"
    if len(begin) >= 4 and begin.startswith(_PROTOBUF) and not set(begin) <= _TEXT:
        return f"protobuf; of a .caffemodel, .binaryproto or .solverstate, {_READ}"
    if begin and set(begin) <= _TEXT:
        return "text: sparknet.formats.describe(path) tells what a prototxt is"
    if begin[:1] in map(bytes, ([0xDE], [0xDF], *([n] for n in range(0x81, 0x90)))):
        return "MessagePack of another program, as msgpack-numpy writes: unpack it with that"
    return ""


def check_ending(path: Path) -> None:
    """Refuse to write a message to a file with the ending of another program's.

    Raises
    ------
    ValueError
        It has one; the message says what writes such a file.
    """
    instead = _ENDINGS.get(path.suffix.lower())
    if instead is not None:
        msg = (
            f"save(): got the path {str(path)!r}, but a message of sparknet is no {path.suffix} file; {instead}, "
            "or call this one .sparknet or .msg"
        )
        raise ValueError(msg)
