"""Starting a Spark session: every common failure is one clear line.

Spark itself reports a missing Java as a shell error, and an unreachable master after a minute of
warnings. If a cluster has no free workers, it waits for ever and says nothing.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparknet.clusters.spark.jobs.interrupts import tell_interrupts_briefly
from sparknet.clusters.spark.jobs.running import telling_line
from sparknet.errors import ClusterError, MissingDependency

__all__ = ["check_java", "start_spark"]

_JAVA_FIX = "install one, on Debian: apt-get install default-jre-headless, and put it on PATH or name it in JAVA_HOME"
_OLDEST_JAVA = 17
_JAVA_SECONDS = 60  # in which Java must print its version
_LOGGING = Path(__file__).with_name("log4j2.properties")


def start_spark(master: str, app_name: str = "sparknet", *, timeout: float | None = None, **conf: str) -> Any:
    """Return a SparkSession on ``master`` that has an executor, or fail within ``timeout`` seconds saying why.

    Parameters
    ----------
    master
        ``local[2]``, ``local-cluster[2,1,1024]``, ``spark://host:port``, ``yarn``, ``k8s://...``
    app_name
        Shown in Spark's own pages.
    timeout
        Seconds to wait for the master and the first executor. The default is 50 for ``spark://``, whose
        address may be wrong, and 300 elsewhere: a busy machine is slow to start a JVM, and YARN and
        Kubernetes are slow to start machines.
    **conf
        Spark settings, with ``_`` for ``.`` (``spark_executor_memory="2g"``); they replace those of sparknet.

    Raises
    ------
    MissingDependency
        pyspark or Java is not installed, or Java is too old.
    ClusterError
        The master's name is malformed, it cannot be reached, or it gives no executor.

    Notes
    -----
    A cluster that is started here (``local``, ``local-cluster``) has ``spark.authenticate`` on, with a random secret: other
    users of the machine can neither join it nor talk to it. For any other master its own settings decide.

    From then on Ctrl-C while Spark works prints one line, which names the place in the program. py4j's log of it and Python's
    traceback are hidden in this process, also for an action of your own, such as ``frame.count()``. A program that has set its
    own ``sys.excepthook`` keeps it.

    Ctrl-C cancels the jobs that a function of sparknet waits for. It does not cancel those of an action of your own, because pyspark
    asks for it on the connection that the interrupted call occupies: ``spark.sparkContext.cancelAllJobs()`` ends them.
    """
    _check_master(master)
    check_java()
    try:
        from pyspark import SparkConf, SparkContext
        from pyspark.sql import SparkSession
    except ImportError as error:
        msg = "pyspark is not installed: pip install 'sparknet[spark]'"
        raise MissingDependency(msg) from error
    # Plain local[N] never runs a failed task again. With four attempts it behaves as a cluster.
    retrying = re.sub(r"^local\[([^,\]]+)\]$", r"local[\1,4]", master)
    running = SparkContext._active_spark_context
    if running is not None and running.master != retrying:
        msg = f"a Spark session on {running.master!r} is running in this process; use it, or stop it before {master!r}"
        raise ClusterError(msg)
    if timeout is None:
        timeout = 50 if master.startswith("spark://") else 300
    # The executors must run the Python that has sparknet, not the first python3 on PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = {name.replace("_", "."): value for name, value in {**_settings(master), **conf}.items()}
    settings |= {"spark.master": retrying, "spark.app.name": app_name}
    held = {name: settings.pop(name) for name in list(settings) if name.startswith("spark.authenticate")}
    with _deadline(timeout, SparkContext) as expired:
        try:
            # Settings that the JVM is started with are on its command line, which all users can read.
            SparkContext._ensure_initialized(conf=SparkConf().setAll(list(settings.items())))
            SparkContext.getOrCreate(SparkConf().setAll(list({**settings, **held}.items())))
            spark = SparkSession.builder.config(map=settings).getOrCreate()
            # An empty job needs an executor; Spark would wait for one for ever.
            spark.sparkContext.parallelize([0], 1).count()
        except Exception as error:
            if expired.is_set():
                msg = f"{master} gave no executor within {timeout:g} s; is it a Spark master, with workers that have free cores and memory?"
            else:
                msg = f"Spark did not start on {master!r}: {telling_line(error)}"
            raise ClusterError(msg) from error
    tell_interrupts_briefly()
    return spark


def _settings(master: str) -> dict[str, str]:
    """Return the settings of sparknet, with ``_`` for ``.`` in their names."""
    return {
        **(_settings_of_our_own_cluster() if master.startswith("local") else {}),
        "spark_driver_memory": f"{_driver_megabytes()}m",
        "spark_ui_enabled": "false",
        "spark_ui_showConsoleProgress": "false",
        "spark_driver_extraJavaOptions": f"-Dlog4j2.configurationFile=file:{_LOGGING}",
        "spark_driver_maxResultSize": "0",
    }


def _settings_of_our_own_cluster() -> dict[str, str]:
    """Return settings that keep all traffic on this machine, and other users of it out."""
    return {
        "spark_driver_host": "127.0.0.1",
        "spark_driver_bindAddress": "127.0.0.1",
        "spark_authenticate": "true",
        "spark_authenticate_secret": secrets.token_hex(),
        # on the web pages of a local-cluster's master and workers anyone could end applications and workers
        "spark_ui_killEnabled": "false",
        "spark_master_ui_decommission_allow_mode": "DENY",
    }


@contextmanager
def _deadline(seconds: float, context: Any) -> Iterator[threading.Event]:
    """Kill the JVM that pyspark is waiting for after so many ``seconds``. The event is set if that has happened.

    Python can set no time limit for Spark's registration with a master (a minute at least), nor for its wait for
    executors (for ever).
    """
    expired, ended = threading.Event(), threading.Event()

    def watch() -> None:
        if ended.wait(min(seconds, threading.TIMEOUT_MAX)):
            return
        expired.set()
        while True:  # on a busy machine pyspark may know of the JVM only after the time is up
            process = getattr(context._gateway, "proc", None)
            if process is not None:
                process.kill()
            if ended.wait(0.1):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield expired
    finally:
        ended.set()
        watcher.join()
        if expired.is_set():  # so that another session can be started in this process
            context._active_spark_context = context._gateway = context._jvm = None


def _driver_megabytes() -> int:
    """Return half of the machine's memory. It is an upper limit; the driver holds the results of all workers."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 >> 20)


def check_java() -> int:
    """Return Java's version; a MissingDependency if Java is missing or too old for Spark."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")  # noqa: PTH118 - as Spark does
    if not java or not os.access(java, os.X_OK):
        where = f"JAVA_HOME={home!r} has no bin/java" if home else "there is no java on PATH"
        msg = f"Spark needs Java {_OLDEST_JAVA} or newer, and {where}; {_JAVA_FIX}"
        raise MissingDependency(msg)
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=_JAVA_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{java} -version does not run ({error}); Spark needs Java {_OLDEST_JAVA}; {_JAVA_FIX}"
        raise MissingDependency(msg) from error
    found = re.search(r'version "(\d+)', answer.stderr)
    if answer.returncode or not found:
        msg = f"{java} -version failed ({answer.stderr.strip()[:100]!r}); Spark needs Java {_OLDEST_JAVA}; {_JAVA_FIX}"
        raise MissingDependency(msg)
    if int(found[1]) < _OLDEST_JAVA:
        msg = f"Spark needs Java {_OLDEST_JAVA} or newer, {java} is version {found[1]}; {_JAVA_FIX}"
        raise MissingDependency(msg)
    return int(found[1])


def _check_master(master: str) -> None:
    if not re.match(r"local(\[|$)|local-cluster\[|spark://|yarn$|k8s://", master):
        msg = f"--master {master!r}: expected local[N], local-cluster[N,cores,MB], spark://HOST:PORT, yarn or k8s://..."
        raise ClusterError(msg)
    if not master.startswith("spark://"):
        return
    problems = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            msg = f"--master {master!r}: {address!r} is not HOST:PORT, as in spark://10.0.0.1:7077"
            raise ClusterError(msg)
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            problems.append(f"{address}: {error}")
        else:
            return
    msg = f"no Spark master answers at {master} ({'; '.join(problems)}); is it running, and is the port right?"
    raise ClusterError(msg)
