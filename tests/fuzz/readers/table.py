"""The readers of what comes from anywhere, a line each: seeds, changes that know the format, and the call.

A reader that is new has a line here, and its seeds in the module beside.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.readers import archives, calls, hdf5, headers, pictures, seeds, wire, words
from fuzz.readers.inputs import Files

_MIB = 1 << 20
_WORDS = words.change_words()
_CAFFE = words.change_words(words.CAFFE)
# An image may have 2**18 pixels here. Decoded, converted and resized it is there three times, of four bytes at most; the tables of
# a progressive JPEG take twelve bytes a pixel more.
_PIXELS = 16 * _MIB


class Reader(NamedTuple):
    """How a reader is fed and called, and what it may take.

    Parameters
    ----------
    file
        Name of the file that it is given; empty for one that is given a folder.
    seeds
        Makes the valid inputs: bytes, or for a folder the files in it.
    ways
        Changes that know the format: ``(chance, data, other) -> bytes``.
    call
        Calls the reader with the file, or the folder.
    builders
        Make inputs of nothing but chance.
    memory, factor
        Bytes that it may take: ``memory``, and ``factor`` times the input, as the page of what is trusted has it.
    writes
        Whether it may write to the folder that it is given.
    needs_caffe
        Whether it needs the package of Caffe.
    """

    file: str
    seeds: Callable[[], list[Any]]
    ways: tuple[Callable[..., bytes], ...]
    call_with: Callable[[Path], Any]
    builders: tuple[Callable[..., Any], ...] = ()
    memory: int = 8 * _MIB
    factor: int = 6
    writes: bool = False
    needs_caffe: bool = False

    def inputs(self) -> list[Files]:
        """Return the seeds as files."""
        return [{self.file: seed} if self.file else seed for seed in self.seeds()]

    def call(self, folder: Path) -> Any:
        """Call the reader with what is in a folder."""
        return self.call_with(folder / self.file if self.file else folder)


_WEIGHTS = seeds.weights
_PACKED = 2 * calls.MAX_BYTES  # what is compressed may inflate to so much
READERS = {
    "message": Reader("a.sparknet", seeds.messages, (seeds.change_message,), calls.message, memory=8 * _MIB),
    "npy": Reader("a.npy", lambda: _WEIGHTS(".npy"), (headers.change_npy,), calls.weights("npy")),
    "npz": Reader(
        "a.npz",
        lambda: _WEIGHTS(".npz"),
        (archives.change_zip, archives.change_entry(headers.change_npy)),
        calls.weights("npz"),
        memory=8 * _MIB + _PACKED,
    ),
    "safetensors": Reader(
        "a.safetensors",
        lambda: _WEIGHTS(".safetensors"),
        (headers.change_safetensors,),
        calls.weights("safetensors"),
        factor=40,
    ),
    "caffemodel": Reader(
        "a.caffemodel",
        lambda: _WEIGHTS(".caffemodel"),
        (wire.change_message,),
        calls.weights("caffemodel"),
        (wire.net,),
        factor=100,
    ),
    "caffemodel.h5": Reader(
        "a.caffemodel.h5",
        lambda: hdf5.seeds("data"),
        (hdf5.damage, hdf5.change_number),
        calls.weights("caffemodel.h5"),
        memory=8 * _MIB + _PACKED,
    ),
    "solverstate": Reader(
        "a.solverstate",
        lambda: _WEIGHTS(".solverstate"),
        (wire.change_message,),
        calls.solver_state,
        (wire.state,),
        factor=100,
    ),
    "solverstate.h5": Reader(
        "a.solverstate.h5",
        lambda: hdf5.seeds("history"),
        (hdf5.damage, hdf5.change_number),
        calls.weights("solverstate.h5"),
        memory=8 * _MIB + _PACKED,
    ),
    "binaryproto": Reader(
        "a.binaryproto",
        lambda: _WEIGHTS(".binaryproto"),
        (wire.change_message,),
        calls.mean_image,
        (wire.blob,),
        factor=100,
    ),
    "any": Reader(
        "a",
        seeds.files_of_all,
        (wire.change_message, archives.change_zip, headers.change_npy, headers.change_safetensors, _CAFFE, hdf5.damage),
        calls.anything,
        (wire.net, wire.state, wire.blob, words.deep),
        memory=8 * _MIB + _PACKED,
        factor=100,
    ),
    "prototxt": Reader("a.prototxt", seeds.prototxts, (_CAFFE,), calls.prototxt, (words.deep,), factor=100),
    "param_str": Reader("a.json", seeds.param_strs, (headers.change_plain_json,), calls.param_str),
    "solver": Reader(
        "",
        seeds.solvers,
        (_CAFFE, words.change_number),
        calls.solver,
        (lambda chance: {"solver.prototxt": words.deep(chance)},),
        memory=16 * _MIB,
        factor=100,
        needs_caffe=True,
    ),
    "net": Reader(
        "",
        seeds.solvers,
        (_CAFFE, words.change_number, words.change_number, words.change_number),
        calls.net,
        memory=256 * _MIB,
        factor=100,
        writes=True,
        needs_caffe=True,
    ),
    "jpeg": Reader("a", lambda: pictures.seeds("JPEG"), (pictures.change_jpeg,), calls.image, memory=_PIXELS),
    "png": Reader("a", lambda: pictures.seeds("PNG"), (pictures.change_png,), calls.image, memory=_PIXELS),
    "gif": Reader(
        "a", lambda: pictures.seeds("GIF"), (pictures.change_numbers(6, 30, 2),), calls.image, memory=_PIXELS
    ),
    "bmp": Reader(
        "a",
        lambda: pictures.seeds("BMP"),
        (pictures.change_numbers(2, 60), pictures.change_numbers(10, 60, 2)),
        calls.image,
        memory=_PIXELS,
    ),
    "ppm": Reader("a", lambda: pictures.seeds("PPM"), (_WORDS,), calls.image, memory=_PIXELS),
    "webp": Reader("a", lambda: pictures.seeds("WEBP"), (pictures.change_riff,), calls.image, memory=_PIXELS),
    "tar": Reader("a.tar", seeds.tars, (archives.change_tar,), calls.tar, (archives.tar,)),
    "labels": Reader("a.txt", seeds.label_files, (_WORDS,), calls.labels, factor=40),
    "folder": Reader("", seeds.folders, (), calls.folder, (seeds.tree,)),
    "idx": Reader(
        "a",
        seeds.idx_files,
        (headers.change_idx, headers.change_gzip(headers.change_idx)),
        calls.idx,
        memory=8 * _MIB + _PACKED,
    ),
    "idx folder": Reader(
        "",
        seeds.idx_folders,
        (headers.change_gzip(headers.change_idx),),
        calls.image_set("idx"),
        memory=8 * _MIB + _PACKED,
    ),
    "cifar10": Reader(
        "a.bin",
        seeds.cifar_files,
        (headers.change_gzip(seeds.change_cifar),),
        calls.cifar,
        memory=8 * _MIB + 3 * _PACKED,
    ),
    "cifar10 folder": Reader(
        "",
        seeds.cifar_folders,
        (headers.change_gzip(seeds.change_cifar),),
        calls.image_set("cifar10"),
        memory=8 * _MIB + 6 * _PACKED,
    ),
    "checkpoint": Reader(
        "",
        seeds.checkpoints,
        (seeds.change_message, seeds.change_metadata),
        calls.checkpoint,
        memory=8 * _MIB,
        writes=True,
    ),
    "manifest": Reader(
        "", seeds.manifests, (headers.change_plain_json, seeds.change_message), calls.manifest, factor=40
    ),
}
