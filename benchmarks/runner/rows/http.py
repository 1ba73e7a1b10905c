"""The side port: /read of keys that are cached, and /write."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor

from .. import generators, reads
from ..failure import Failure
from ..marks import Mark
from ..servers import FASTAPI_WORKERS
from ..settings import CONNECTIONS, KEYS, VALUE_BYTES

SECONDS = 2
FILLERS = 8

NAMES = {"fastapi": f"the FastAPI peer, {FASTAPI_WORKERS} workers", "respgres": "respgres"}


def prepare(bench):
    bench.fill(bench.deployment.respgres)
    _each_key(
        bench.deployment.fastapi, "POST", "/write", lambda key: json.dumps({"key": key, "value": "x" * VALUE_BYTES})
    )


def measure(bench):
    seconds = bench.settings.seconds(SECONDS)
    for name in NAMES:
        target = getattr(bench.deployment, name)
        if name == "respgres":
            bench.warm(target)
        else:
            _each_key(target, "GET", "/read/{key}")
        with reads.only("hits", target, f"/read of {name}"):
            outcome = generators.wrk(bench.settings, target.http_address, "read", seconds)
        _add(bench, f"http/read/{name}", outcome)
    for name in NAMES:
        target = getattr(bench.deployment, name)
        _add(bench, f"http/write/{name}", generators.wrk(bench.settings, target.http_address, "write", seconds))
        target.check()


def _add(bench, prefix, outcome):
    bench.add(prefix, rate=outcome["requests"] / outcome["seconds"], p99=outcome["p99_us"])


def _each_key(target, method, path, body=lambda key: None):
    """wrk takes keys at random; here each has its turn."""

    def some(first):
        connection = http.client.HTTPConnection(target.http_address, timeout=30)
        for number in range(first, KEYS, FILLERS):
            key = f"key:{number:012}"
            connection.request(method, path.format(key=key), body(key), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise Failure(f"{method} {path} for {key} at {target.http_address}: {answer.status} {text[:200]}")
        connection.close()

    with ThreadPoolExecutor(FILLERS) as fillers:
        list(fillers.map(some, range(FILLERS)))


def report(samples):
    lines = [
        "## The side port",
        "",
        f"`wrk -t1 -c{CONNECTIONS}`, {KEYS:,} keys at random, values of {VALUE_BYTES} bytes, every /read a hit"
        " (counted); beside a FastAPI service of the same design (`peers/fastapi`) with a cache and three databases of"
        " its own.",
        "",
        "| | call | requests a second | of FastAPI | p99 ms |",
        "|---|---|---:|---:|---:|",
    ]
    for call in ("read", "write"):
        for name, text in NAMES.items():
            prefix = f"http/{call}/{name}"
            rate, ratio = samples.spread(f"{prefix}/rate"), samples.ratio(f"{prefix}/rate", f"http/{call}/fastapi/rate")
            p99_ms = samples.spread(f"{prefix}/p99").scaled(1e-3)
            lines.append(f"| {text} | /{call} | {rate.text()} | {ratio.text(1)} | {p99_ms.text(1)} |")
    return "\n".join(lines)


def marks(samples):
    return [
        Mark(
            4,
            f"/{call}",
            "at least 10 × FastAPI",
            10,
            samples.ratio(f"http/{call}/respgres/rate", f"http/{call}/fastapi/rate"),
        )
        for call in ("read", "write")
    ]
