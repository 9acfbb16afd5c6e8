"""Spark's own cluster on this machine: a master and two workers, each a process, as Spark's scripts start them."""

import contextlib
import os
import socket
import subprocess
import threading
import uuid
from pathlib import Path

from chaos import system

_STARTS = 120.0  # seconds
_DOWN = 0.3  # seconds until a worker that was killed is started again, as whoever watches a machine would


class Standalone:
    """A master and two workers; as a context manager it ends them.

    Parameters
    ----------
    folder
        A new one, for their files.
    hosts, cores
        Of the workers. Any address that begins with 127 is this machine, and another host to Spark.
    """

    def __init__(self, folder, *, hosts=("127.0.0.1", "127.0.0.1"), cores=1):
        self._hosts, self._cores, self._of = hosts, cores, {}
        self.folder, self.mark, self._lock = Path(folder), uuid.uuid4().hex, threading.Lock()
        self.folder.mkdir(parents=True)
        self._processes, self._port = [], _free_port()
        self.address = f"spark://127.0.0.1:{self._port}"

    def __enter__(self):
        self._start("master.Master", "127.0.0.1", "--port", str(self._port))
        if not system.wait_until(self._answers, _STARTS):
            msg = f"Spark's master does not answer at {self.address}"
            raise TimeoutError(msg)
        for host in self._hosts:
            self._start_worker(host)
        return self

    def __exit__(self, *_):
        for process in self._processes:
            process.kill()
            process.wait()
        for pid in system.marked(self.mark):
            with contextlib.suppress(OSError):
                os.kill(pid, 9)

    def replace(self, pid):
        """Return a timer that starts another worker, once this one is dead."""

        def start():
            process = next(each for each in self._processes if each.pid == pid)
            process.wait()
            self._start_worker(self._of[pid])

        timer = threading.Timer(_DOWN, start)
        timer.start()
        return timer

    def others(self):
        """Return all processes but those of the cluster: executors, and what they have started."""
        ours = {process.pid for process in self._processes}
        return [pid for pid in system.marked(self.mark) if pid not in ours]

    def pids(self):
        return [process.pid for process in self._processes if process.poll() is None]

    def _start_worker(self, host):
        cores = str(self._cores)
        pid = self._start("worker.Worker", host, "--cores", cores, "--memory", "1g", "--port", "0", self.address)
        self._of[pid] = host

    def _start(self, name, host, *arguments):
        import pyspark

        home = Path(pyspark.__file__).parent
        environment = system.environment(self.mark, self.folder, SPARK_HOME=str(home), SPARK_DAEMON_MEMORY="256m")
        with self._lock, (self.folder / "said.txt").open("a") as log:
            self._processes.append(
                subprocess.Popen(
                    [
                        str(home / "bin" / "spark-class"),
                        f"org.apache.spark.deploy.{name}",
                        *("--host", host, "--webui-port", "0"),
                        *arguments,
                    ],
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
            )
            return self._processes[-1].pid

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
