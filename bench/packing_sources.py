"""Sources that cost more than their rows, packed, for bench_packing.py: many small partitions, and many columns for one input."""

import time

from sparknet import Field
from sparknet.spark import pack

LABEL = Field("label", (), "int64")
BATCH = 100
PARTITIONS = 200, 2000
FEW = 8  # partitions that the rows are coalesced to
COLUMNS, ROWS = [f"c{i}" for i in range(50)], 100_000


def small_partitions(spark, repetitions):
    """Number of partitions -> what they are of -> seconds to pack two rows of each, least of the repetitions."""
    return {str(count): least(of_small_partitions(spark, count), repetitions) for count in PARTITIONS}


def of_small_partitions(spark, count):
    rows = spark.range(0, 2 * count, 1, count)
    frame = rows.selectExpr("float(id) x", "id label")
    cached = rows.selectExpr(
        "float(id) x", "id + 0 label"
    ).cache()  # not the plan of the others, which would be cached too
    cached.count()
    sources = {
        "range": frame,
        "shuffled": frame.repartition(count),
        "cached": cached,
        "coalesced first": frame.coalesce(FEW),
    }
    if count == PARTITIONS[0]:  # 2,000 would take minutes
        numbers = list(
            range(2 * count)
        )  # given a range, Spark makes the numbers in a Python function, for each partition
        rdd = spark.sparkContext.parallelize(numbers, count)
        sources |= {
            "RDD, mapped": rdd.map(lambda i: (float(i), i)),
            "RDD, coalesced and mapped": rdd.coalesce(FEW).map(lambda i: (float(i), i)),
        }
    fields = Field("x", (), "float32"), LABEL
    return {
        name: lambda source=source: pack(source, fields, BATCH, shards=2, shuffle=True, seed=1)
        for name, source in sources.items()
    }


def joined_columns(spark, repetitions):
    """Way -> what the input is made of -> seconds to pack all rows, least of the repetitions."""
    each = [f"float(id % {97 + i}) {name}" for i, name in enumerate(COLUMNS)]
    wide = spark.range(0, ROWS, 1, 4).selectExpr(*each, "id % 10 label").cache()
    array = wide.selectExpr(f"array({', '.join(COLUMNS)}) data", "label").cache()
    fields = Field("data", (len(COLUMNS),), "float32"), LABEL
    print(f"  {wide.count():,} rows of {len(COLUMNS)} columns, {array.count():,} of one", flush=True)
    turns = {
        (way, made): lambda frame=frame, column=column, way=way: pack(
            frame, fields, BATCH, columns={"data": column}, shards=2, shuffle=True, seed=1, arrow=way == "Arrow"
        )
        for way in ("Arrow", "rows")
        for made, frame, column in (("columns", wide, COLUMNS), ("one of arrays", array, "data"))
    }
    best = least(turns, repetitions)
    wide.unpersist()
    array.unpersist()
    return {way: {made: best[way, made] for made in ("columns", "one of arrays")} for way in ("Arrow", "rows")}


def least(turns, repetitions):
    """Name -> least seconds of the repetitions of a function that packs, after one that does not count."""
    best = dict.fromkeys(turns, float("inf"))
    for repetition in range(repetitions + 1):
        for name, run in turns.items():
            start = time.perf_counter()
            data = run()
            took = time.perf_counter() - start
            data.unpersist()
            best[name] = min(best[name], took) if repetition else best[name]
    return best
