"""Archive the classes that Spark loads, and print the options with which a JVM maps them: it then starts in half of the processor's time.

Usage: spark_classes.py FOLDER. The tests start some forty JVMs, so ``nox -s spark`` gives them these options as JDK_JAVA_OPTIONS.
Java itself passes over an archive that is of another Java or of other files. Where none can be made, the options do without.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pyspark

SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # no time is spent on optimising
# What most programs do: an RDD, a DataFrame, and the end of the JVM, which is when it writes the archive.
PROGRAM = """
from pyspark import SparkContext
from sparknet import Field
from sparknet.nets import MLP
from sparknet.spark import pack, predict, start_spark

spark = start_spark("local[2]")
fields = [Field("data", (2,)), Field("label", (), "int64")]
rows = [([0.0, 1.0], 0)] * 8
pack(spark.sparkContext.parallelize(rows, 2), fields, 2, shards=2).first_batch()
frame = spark.createDataFrame(rows, "data array<double>, label bigint")
net = MLP.factory((2,), 2)
predict(frame, net, net(seed=0).get_weights(), fields=fields[:1]).where("label = 0").collect()
spark.stop()
gateway = SparkContext._gateway
gateway.shutdown()
gateway.proc.stdin.close()
gateway.proc.wait()
"""


def main(folder: Path) -> None:
    """Make the archive if it is not there, and print the options."""
    java = os.path.join(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else "java"  # noqa: PTH118
    version = subprocess.run([java, "-version"], capture_output=True, check=True).stderr
    key = hashlib.sha256(repr((version, pyspark.__version__, pyspark.__file__)).encode()).hexdigest()[:16]
    archive = folder.resolve() / f"spark-{key}.jsa"
    if not archive.exists():
        new = archive.with_suffix(".new")
        options = f'{SHORT_LIVED} -XX:ArchiveClassesAtExit="{new}" -Xlog:disable'
        environment = {**os.environ, "JDK_JAVA_OPTIONS": options}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and new.exists():
            new.rename(archive)
        else:
            print(f"no archive of Spark's classes could be made: {done.stderr}", file=sys.stderr)
    shared = f' -XX:SharedArchiveFile="{archive}" -Xlog:disable' if archive.exists() else ""
    print(SHORT_LIVED + shared)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
