"""What is varied, one at a time, and what is measured at each point.

An axis has `points`, `prepare`, which is called once, and `measure`, which is called for each point in each round.
"""

import shutil
from contextlib import nullcontext

from .. import reads
from ..settings import CONNECTIONS, KEYS, VALUE_BYTES, number

SECONDS = 1.5
COLD_KEYS = 60_000
COLD_DEPTH = 16
LARGEST_FILL = 256 << 20
"""Bytes of all values together, where large values are stored: there are as many keys as fit."""

NOT_CACHED = 1 << 20
"""Bytes of a value that respgres does not put into Redis."""

ROW_BYTES = 700
"""What a row takes on disk at most while it is loaded: its place in the table and the index, and in the log."""

RESPGRES_AND_REDIS = {
    "get": "respgres, GET that hits",
    "set": "respgres, SET",
    "redis": "Redis, GET",
}


class _Axis:
    def fits(self, _bench, _point, _seconds_left):
        """Why a point can't be measured; None if it can."""
        return None


class _OnOneDeployment(_Axis):
    """GET and SET on respgres with three shards, and GET on a Redis, with one option of the load varied."""

    lines = RESPGRES_AND_REDIS

    def prepare(self, bench):
        bench.fill(bench.deployment.redis)
        bench.fill(bench.deployment.respgres)

    def measure(self, bench, point):
        respgres, redis = bench.deployment.respgres, bench.deployment.redis
        options = {
            "connections": CONNECTIONS,
            "depth": 1,
            "num_keys": KEYS,
            "value_bytes": VALUE_BYTES,
            **self.options(point),
        }
        for line, target, operation in (("redis", redis, "get"), ("get", respgres, "get"), ("set", respgres, "set")):
            self.before(bench, target, options)
            what = f"GET, {self.name} {point}"
            with reads.only(self.kind(point), target, what) if line == "get" else nullcontext():
                answer = bench.load(target, operation, seconds=_seconds(bench), **options)
            _add(bench, self, point, line, answer)

    def before(self, bench, target, _):
        # Written anew, since an entry that is only read again ends five minutes after it was filled.
        bench.fill(target)

    def kind(self, _point):
        """What a GET at respgres is to be."""
        return "hits"


class Connections(_OnOneDeployment):
    name = "connections"
    title = "Connections"
    about = "One request at a time on each."
    points = (1, 10, 50, 100, 300, 1000)

    def options(self, point):
        return {"connections": point}


class Depth(_OnOneDeployment):
    name = "depth"
    title = "Pipeline depth"
    about = f"{CONNECTIONS} connections; the latency is from sending a pipeline to each of its replies."
    points = (1, 2, 4, 8, 16, 32, 64, 128)

    def options(self, point):
        return {"depth": point}


class ValueSize(_OnOneDeployment):
    name = "value-bytes"
    title = "Value size in bytes"
    about = (
        f"{CONNECTIONS} connections, unpipelined; {KEYS:,} keys, or as many as have {LARGEST_FILL >> 20} MiB of values"
        f" together. A value of {NOT_CACHED >> 20} MiB is not cached: GET reads it from the shard."
    )
    lines = {**RESPGRES_AND_REDIS, "get": "respgres, GET"}
    points = (16, 256, 4 << 10, 64 << 10, 256 << 10, 1 << 20)

    def options(self, point):
        return {"value_bytes": point, "num_keys": min(KEYS, LARGEST_FILL // point)}

    def kind(self, point):
        return "misses" if point >= NOT_CACHED else "hits"

    def before(self, bench, target, options):
        """Values of this size, and in the cache."""
        value_bytes = options["value_bytes"]
        together = {"connections": 8, "depth": min(16, max(1, (64 << 10) // value_bytes))}
        same = {"order": "once", "num_keys": options["num_keys"], **together}
        bench.load(target, "set", value_bytes=value_bytes, **same)
        bench.load(target, "get", **same)


class Shards(_Axis):
    name = "shards"
    title = "Shards"
    about = f"Databases of one PostgreSQL server; {CONNECTIONS} connections."
    points = (1, 2, 4, 8)
    lines = {
        "set": "SET",
        "set-deep": f"SET, {COLD_DEPTH} deep",
        "miss-deep": f"GET that misses, {COLD_DEPTH} deep",
        "get": "GET that hits",
    }

    def prepare(self, bench):
        self._databases = {
            point: bench.deployment.postgres.databases(f"of_{point}", number=point) for point in self.points
        }

    def measure(self, bench, point):
        with bench.deployment.fresh_respgres(f"shards-{point}", self._databases[point]) as proxy:
            # Each round its own keys: a miss is one only once.
            cold = {"first_key": (bench.round + 1) * 10**9, "num_keys": _cold_keys(bench), "order": "once"}
            bench.load(proxy, "set", depth=COLD_DEPTH, value_bytes=VALUE_BYTES, **cold)
            with reads.only("misses", proxy, f"GET, {point} shards"):
                _add(bench, self, point, "miss-deep", bench.load(proxy, "get", depth=COLD_DEPTH, **cold))
            bench.fill(proxy)
            same = {"seconds": _seconds(bench), "num_keys": KEYS, "value_bytes": VALUE_BYTES}
            with reads.only("hits", proxy, f"GET, {point} shards"):
                _add(bench, self, point, "get", bench.load(proxy, "get", **same))
            _add(bench, self, point, "set", bench.load(proxy, "set", **same))
            _add(bench, self, point, "set-deep", bench.load(proxy, "set", depth=COLD_DEPTH, **same))


class Keys(_Axis):
    """The rows stay from one point to the next, so this takes the points in order, and in one round."""

    name = "keys"
    title = "Keys"
    about = (
        f"Rows in three databases; {CONNECTIONS} connections. GET reads keys from all over the table, each once, and"
        " misses; SET overwrites keys at random."
    )
    lines = {
        "set": "SET",
        "miss": "GET that misses",
        "miss-deep": f"GET that misses, {COLD_DEPTH} deep",
    }

    def __init__(self):
        most = number("MAX_KEYS", 10_000_000, 10_000, 10**9)
        self.points = tuple(point for point in (10**4, 10**5, 10**6, 10**7, 10**8, 10**9) if point <= most)

    def prepare(self, bench):
        self._databases = bench.deployment.postgres.databases("keys")
        self._rows = 0
        self._rows_a_second = None

    def fits(self, bench, point, seconds_left):
        more = point - self._rows
        free = shutil.disk_usage(bench.deployment.postgres.scratch_dir).free
        if free < 2 * more * ROW_BYTES:
            return f"{2 * more * ROW_BYTES >> 30} GiB of disk would have to be free"
        if self._rows_a_second is not None and more / self._rows_a_second > seconds_left:
            return f"loading would take {more / self._rows_a_second / 60:.0f} minutes"
        return None

    def measure(self, bench, point):
        with bench.deployment.fresh_respgres("keys", self._databases) as proxy:
            first, new = self._rows, point - self._rows
            loaded = bench.load(
                proxy,
                "set",
                order="once",
                depth=64,
                first_key=first,
                num_keys=new,
                value_bytes=VALUE_BYTES,
            )
            self._rows, self._rows_a_second = point, loaded["rate"]
            bench.deployment.postgres.settle(self._databases)
            # Two samples that have no key in common; of the rows that are new, since others may be cached.
            sample = min(_cold_keys(bench), new // 2)
            cold = {"order": "once", "num_keys": sample, "key_step": new // sample}
            with reads.only("misses", proxy, f"GET, {point} keys"):
                _add(bench, self, point, "miss", bench.load(proxy, "get", first_key=first, **cold))
                deep = bench.load(proxy, "get", first_key=first + 1, depth=COLD_DEPTH, **cold)
                _add(bench, self, point, "miss-deep", deep)
            _add(
                bench,
                self,
                point,
                "set",
                bench.load(proxy, "set", seconds=_seconds(bench), num_keys=point, value_bytes=VALUE_BYTES),
            )


def _seconds(bench):
    return bench.settings.seconds(SECONDS)


def _cold_keys(bench):
    return bench.settings.count(COLD_KEYS)


def _add(bench, axis, point, line, answer):
    bench.add(f"{axis.name}/{point}/{line}", rate=answer["rate"], p99=answer["latency_us"]["p99"])
