"""The programs that make load: what they are called with, and what their output says."""

import csv
import json
import re
import resource
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean, median, quantiles

from .failure import Failure
from .settings import CONNECTIONS, KEYS, ROOT, VALUE_BYTES

RUN_LIMIT_S = 900

WARM_UP_S = 0.3
"""Of runs that measure latencies: what ended, or was due, before is not counted."""


def run(command, **kwargs):
    """The output of a generator; anything but success is a failure of the benchmark."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_LIMIT_S, **kwargs
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"no end after {RUN_LIMIT_S} s: {' '.join(command)}") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def generator_cpu_seconds():
    """Of all generators that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def redis_benchmark(settings, port, operation, depth, requests):
    """Requests a second. Ends with an error if any reply is one."""
    command = [settings.program("redis-benchmark"), "-h", "127.0.0.1", "-p", port, "-t", operation, "-n", requests]
    command += ["-c", CONNECTIONS, "-P", depth, "-r", KEYS, "-d", VALUE_BYTES, "--csv"]
    output = run(command)
    for line in csv.reader(output.splitlines()):
        if line[:1] == [operation.upper()]:
            return float(line[1])
    raise Failure(f"{' '.join(map(str, command))} said no figure:\n{output}")


def load(settings, address, operation, *, seconds=None, **options):
    """The JSON of benchmarks/load; the options are its own, with underscores."""
    command = [*settings.clients_on(), settings.program("load"), "run", address, "--operation", operation]
    if seconds is not None:
        command += ["--seconds", seconds]
    for name, value in options.items():
        command.append("--" + name.replace("_", "-"))
        # An option without a value says all by being there.
        command += [value] if value is not None else []
    return json.loads(run(command))


def wrk(settings, http_address, call, seconds):
    """The JSON of benchmarks/wrk; `call` is read or write."""
    script = ROOT / "benchmarks/wrk" / f"{call}.lua"
    command = [settings.program("wrk"), "-t", 1, "-c", CONNECTIONS, "-d", f"{max(1, round(seconds))}s", "-s", script]
    output = run([*command, f"http://{http_address}", "--", KEYS, VALUE_BYTES])
    outcome = json.loads(output.splitlines()[-1])
    if outcome["errors"]:
        raise Failure(
            f"/{call} at {http_address}: {outcome['errors']} of {outcome['requests']} requests failed:\n{output}"
        )
    return outcome


@dataclass(frozen=True)
class Transactions:
    """What pgbench processes did together."""

    per_second: float
    transactions: int
    latencies_us: list

    @property
    def mean_us(self):
        return fmean(self.latencies_us)

    @property
    def median_us(self):
        return median(self.latencies_us)

    @property
    def p99_us(self):
        return quantiles(self.latencies_us, n=100)[-1]


def pgbench(settings, postgres, databases, script, *, clients, seconds, rate=None, latencies=False, variables=()):
    """One pgbench for each database, all at once; `clients` each. `rate` is of all together."""
    log_dir = postgres.scratch_dir

    def one(number):
        prefix = log_dir / f"pgbench-{number}"
        command = [settings.program("pgbench"), "-h", "127.0.0.1", "-p", postgres.port, "-U", postgres.user]
        command += ["-n", "-M", "prepared", "-c", clients, "-j", 1, "-T", max(1, round(seconds)), "-f", script]
        for name, value in variables:
            command += ["-D", f"{name}={value}"]
        if rate is not None:
            command += ["--rate", f"{rate / len(databases):.3f}"]
        if latencies:
            command += ["-l", f"--log-prefix={prefix}"]
        return run([*command, databases[number]]), prefix

    with ThreadPoolExecutor(len(databases)) as at_once:
        outputs = list(at_once.map(one, range(len(databases))))

    per_second, transactions, took = 0, 0, []
    for output, prefix in outputs:
        if not re.search(r"number of failed transactions: 0 ", output):
            raise Failure(f"pgbench had failures:\n{output}")
        transactions += int(re.search(r"^number of transactions actually processed: (\d+)", output, re.M)[1])
        per_second += float(re.search(r"^tps = ([0-9.]+)", output, re.M)[1])
        for log in log_dir.glob(f"{prefix.name}.*"):
            took += _latencies_us(log)
            log.unlink()
    return Transactions(per_second, transactions, took)


def _latencies_us(log):
    """From when a transaction was due, if there is a rate, to its end. Without those that ended in the first moment:
    in them the statement is prepared."""
    lines = [line.split() for line in log.open()]
    ended_s = [int(fields[4]) + int(fields[5]) / 1e6 for fields in lines]
    start_s = min(ended_s, default=0) + WARM_UP_S
    return [int(fields[2]) for fields, end_s in zip(lines, ended_s, strict=True) if end_s >= start_s]
