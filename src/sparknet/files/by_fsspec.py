"""Folders of other file systems, such as object stores, through the package fsspec (extra ``fsspec``). The only module that imports fsspec.

No rename, no lock and no replacement of a file is asked for: many of these file systems have none of them, or none that is whole or
not at all. What fsspec and its drivers raise, each its own, becomes an OSError that names the URL.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sparknet.errors import DataError, MissingDependency

__all__ = ["RemoteFolder", "check_driver"]

_LONGEST = 300  # characters of what a driver says
# scheme -> what its driver takes besides packages, which its own error does not say
_TAKES = {
    "hdfs": "; hdfs:// takes Java and Hadoop on this machine: JAVA_HOME, HADOOP_HOME, and CLASSPATH as `hadoop classpath --glob` prints it"
}


def check_driver(url: str) -> None:
    """Raise an error that says what to install or to write, unless fsspec has a driver for the scheme of a URL.

    Raises
    ------
    MissingDependency
        fsspec is not installed, or its driver for this scheme is not.
    DataError
        There is no such scheme.
    """
    scheme = url.partition("://")[0]
    try:
        from fsspec import get_filesystem_class
    except ImportError as error:
        msg = f"{url}: {scheme}:// is reached through the package fsspec: pip install 'sparknet[fsspec]'"
        raise MissingDependency(msg, name="fsspec") from error
    try:
        get_filesystem_class(scheme)
    except ValueError as error:
        msg = (
            f"{url}: fsspec has no file system {scheme}://; expected the path of a directory, or a scheme that it knows, such as "
            "s3, gs, abfs or hdfs"
        )
        raise DataError(msg) from error
    except ImportError as error:
        raise _without_driver(url, error) from error


class RemoteFolder:
    """A folder of a file system that fsspec knows, with files and folders of files in it.

    Parameters
    ----------
    url
        ``scheme://...``. What the driver needs besides, such as credentials, comes from the driver's own settings or from fsspec's.

    Raises
    ------
    MissingDependency, DataError
        As from :func:`check_driver`.
    OSError
        The file system cannot be reached. FileNotFoundError, here and below: something is not there.
    """

    def __init__(self, url: str) -> None:
        check_driver(url)
        from fsspec.core import url_to_fs

        scheme, _, path = url.partition("://")
        self.url = f"{scheme}://{path.rstrip('/')}"
        self._system: Any
        try:
            with _told(self.url):
                self._system, self._path = url_to_fs(self.url)
        except ImportError as error:  # some drivers import what they need only now
            raise _without_driver(url, error) from error
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}{_TAKES.get(scheme, '')}", self.url) from None

    def make(self, name: str = "") -> None:
        """Make a folder in this one, or without a name this one, where the file system wants that before there is a file in it.

        A folder that cannot be made is told of by the first file: some drivers of object stores, which have no folders, look at the
        whole bucket here, and fail where that is not allowed.
        """
        path = self._at(name)
        if "/" in path:  # else it is a whole bucket, which nobody wants made because of a slip of the pen
            with suppress(Exception):
                self._system.mkdir(path, create_parents=False)

    def names(self) -> list[str]:
        """Return the names of what is in the folder now; none if there is no such folder."""
        with self._told(), suppress(FileNotFoundError):
            self._system.invalidate_cache()  # other processes write there too
            found = [path.rstrip("/") for path in self._system.ls(self._path, detail=False)]
            # object stores may keep an object for the folder itself
            return sorted({path.rpartition("/")[2] for path in found if path != self._path.rstrip("/")})
        return []

    def read(self, name: str) -> bytes:
        """Return the contents of a small file."""
        with self._told(name):
            return bytes(self._system.cat_file(self._at(name)))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self._told(name):
            self._system.pipe_file(self._at(name), content)

    def get(self, name: str, target: Path) -> None:
        """Copy a file to this machine."""
        with self._told(name):
            self._system.get_file(self._at(name), str(target))

    def put(self, source: Path, name: str) -> None:
        """Copy a file of this machine into the folder."""
        with self._told(name):
            self._system.put_file(str(source), self._at(name))

    def remove_file(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._told(name), suppress(FileNotFoundError):
            self._system.rm_file(self._at(name))

    def remove(self, name: str) -> None:
        """Remove a folder and all that is in it, if it is there."""
        with self._told(name), suppress(FileNotFoundError):  # of an object store it ends with its last file
            self._system.invalidate_cache()
            self._system.rm(self._at(name), recursive=True)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}" if name else str(self._path)

    def _told(self, name: str = "") -> Any:
        return _told(f"{self.url}/{name}" if name else self.url)


def _without_driver(url: str, error: ImportError) -> MissingDependency:
    return MissingDependency(f"{url}: fsspec cannot import its driver: {error}", name=error.name)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Name the URL in what the file system raises, as an OSError. A driver may raise anything."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", url) from error
    except ImportError:
        raise
    except OSError as error:
        number = errno.EACCES if isinstance(error, PermissionError) else error.errno or errno.EIO
        raise OSError(number, _line(error.strerror or str(error) or type(error).__name__), url) from error
    except Exception as error:
        raise OSError(errno.EIO, _line(f"{type(error).__name__}: {error}"), url) from error


def _line(text: str) -> str:
    """Return the first line: what follows it in some drivers is each place where something was looked for, or a traceback of Java."""
    return text.strip().partition("\n")[0][:_LONGEST]
