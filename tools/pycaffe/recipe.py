"""What goes into the pycaffe wheel, and the steps from the source distribution to it.

Everything here, the patches and the added files decide what the wheel holds, so all of them are part of the cache key.
Who asks for the wheel, where it is kept and which Debian packages it takes is not decided here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import debian
from problems import FailedError

if TYPE_CHECKING:
    from pathlib import Path

NAME, VERSION = "brocolli-caffe", "9.0.2"
SHA256 = "c6410cc60bdd6db685d441b66be7df05410f8850ac88d6b75d48ef9b2315c08a"
ARCHIVE = f"{NAME}-{VERSION}.tar.gz"
ADDED = ("CMakeLists.txt", "pyproject.toml", "caffe_check_throws.h")
LIBRARIES = "built_on.txt"  # the release, then the packages that the wheel runs with, one a line
ANY_PYTHON = 'requires-python = ">=3.11"'
ANY_WHEEL = 'version = "1.0.0+cpu"'
KEPT = ("LICENSE", "include/", "src/caffe/", "python/caffe/")
# Tests, CUDA, and the output of an old protoc, which must not stand in the way of ours.
DROPPED = ("/test/", "/__pycache__/", ".cu", "caffe.pb.h", "caffe.pb.cc", "caffe_pb2.py")
# Layers of other forks that this tree has gathered, and what only they use: several have no gradient or a wrong one.
FORKS = (
    *("annotated_data", "batch_norm_kyle", "bilinear_interpolate", "bn_layer", "detection_evaluate"),
    *("detection_output", "hardsigmoid", "hardswish", "lconv2", "maxunpool", "multibox_loss", "normalize_layer"),
    *("pad_layer", "permute_layer", "pixelshuffle", "prior_box", "proposal_layer", "psroi_pooling", "relu6"),
    *("resize_layer", "smooth_L1", "unsqueeze", "upsample_layer", "video_data", "bbox_util", "im_transforms"),
    *("util/sampler", "util/nms", "util/util_img", "caffe/3rdparty/", "model_libs", "caffe/parallel."),
)
# Flags of the caller's shell are not part of the cache key, so they must not reach the compiler.
NEUTRAL = {"CFLAGS": "", "CPPFLAGS": "", "LDFLAGS": "", "CMAKE_ARGS": "", "CMAKE_GENERATOR": "Ninja"}
LINES_SHOWN = 30


# ------------------------------------------------------------------------------------------ the cache key


def inputs(folder: Path) -> list[Path]:
    """Return the files of `folder` that decide what is in the wheel."""
    return [folder / "recipe.py", *(folder / name for name in ADDED), *patches(folder)]


def patches(folder: Path) -> list[Path]:
    """Return the patches of `folder` in the order in which they apply."""
    return sorted(folder.glob("patches/*.patch"))


def cache_key(folder: Path, flags: str) -> str:
    """Return 12 hex digits that change with anything that goes into the wheel."""
    files = [(path.name, digest(path)) for path in inputs(folder)]
    target = (sys.implementation.cache_tag, platform.machine(), debian.release(), debian.libraries())
    return hashlib.sha256(repr((files, target, compiler(), flags)).encode()).hexdigest()[:12]


def python_version() -> str:
    """Return the version of the Python that runs this, such as "3.13"."""
    return ".".join(map(str, sys.version_info[:2]))


def compiler() -> str:
    """Return the C++ compiler's name."""
    return os.environ.get("CXX") or "c++"


def digest(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------------------------------ the steps


def fetch(cache: Path, work: Path, log: Path) -> Path:
    """Return the source distribution, verified; downloaded into `cache` unless it is there."""
    archive = cache / ARCHIVE
    if not archive.exists():
        # A hash in the requirement makes pip compare it before it runs anything of the archive.
        requirement = work / "requirement.txt"
        requirement.write_text(f"{NAME}=={VERSION} --hash=sha256:{SHA256}\n", encoding="ascii")
        pip(log, "download", "--no-deps", "--require-hashes", "-r", str(requirement), "-d", str(work))
        shutil.move(work / ARCHIVE, archive)
    verify(archive)
    return archive


def verify(archive: Path) -> None:
    """Raise `FailedError` unless `archive` is the pinned source distribution."""
    got = digest(archive)
    if got != SHA256:
        fix = f"remove {archive} and try again"
        raise FailedError(got=f"{ARCHIVE} with sha256 {got}", expected=SHA256, fix=fix)


def unpack(archive: Path, work: Path) -> Path:
    """Unpack what a CPU build needs of the source distribution; return its folder."""
    with tarfile.open(archive) as tar:
        # Python 3.12 and 3.13 warn where none is chosen, and early 3.11 has none.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        tar.extractall(work, [member for member in tar if wanted(member.name)])  # noqa: S202 -- its hash is pinned
    return work / f"{NAME}-{VERSION}"


def wanted(name: str) -> bool:
    """Say whether a file of the archive is needed."""
    return name.partition("/")[2].startswith(KEPT) and not any(part in name for part in DROPPED + FORKS)


def apply_patches(source: Path, folder: Path) -> None:
    """Apply the patches of `folder`, each in full and with every line of its context as it stands."""
    options = ["-p1", "--fuzz=0", "--batch", "--forward", "--no-backup-if-mismatch"]
    for patch in patches(folder):
        command = ["patch", *options, f"--input={patch}"]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        if done.returncode:
            said = " ".join((done.stdout + done.stderr).split())
            raise FailedError(
                got=f"{patch.name} refused ({said})",
                expected="every patch to apply without fuzz",
                fix=f"make it anew from {NAME} {VERSION}",
            )


def add_files(source: Path, folder: Path, key: str) -> None:
    """Add our own files to the patched tree, with the wheel's cache key and this machine's Python and libraries filled in."""
    for name in ADDED:
        text = (folder / name).read_text(encoding="utf-8")
        text = text.replace(ANY_WHEEL, f'version = "1.0.0+cpu.{key}"')
        text = text.replace(ANY_PYTHON, f'requires-python = "=={python_version()}.*"')
        (source / name).write_text(text, encoding="utf-8")
    # sparknet names them where the wheel does not load, also on a machine of another release.
    text = "\n".join((debian.release(), *debian.libraries(), ""))
    (source / "python" / "caffe" / LIBRARIES).write_text(text, encoding="utf-8")


def compile_wheel(source: Path, work: Path, flags: str, jobs: int, log: Path) -> Path:
    """Let pip, scikit-build-core and ninja compile `source`; return the wheel's path."""
    environment = {**NEUTRAL, "CXX": compiler(), "CXXFLAGS": flags, "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs)}
    pip(log, "wheel", "--verbose", "--no-deps", "-w", str(work / "wheel"), str(source), **environment)
    return next((work / "wheel").glob("caffe-*.whl"))


def pip(log: Path, *arguments: str, **environment: str) -> None:
    """Run pip with its output appended to `log`; raise `FailedError` with the log's last lines shown."""
    command = [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--no-input"]
    with log.open("ab") as output:
        env = {**os.environ, **environment}
        status = subprocess.run(command, stdout=output, stderr=output, env=env, check=False).returncode
    if status:
        sys.stderr.writelines(log.read_text(errors="replace").splitlines(keepends=True)[-LINES_SHOWN:])
        raise FailedError(got=f"exit status {status} from pip {arguments[0]}", expected="0", fix=f"see {log}")
