"""What every row works with."""

import os
from dataclasses import dataclass, field
from functools import cached_property

from . import generators
from .failure import Failure
from .machine import synced_write_us
from .plain_tables import PlainTables
from .procfs import cpu_seconds
from .samples import Samples
from .servers import Deployment
from .settings import CONNECTIONS, KEYS, VALUE_BYTES, Settings


@dataclass
class Bench:
    settings: Settings
    deployment: Deployment
    samples: Samples = field(default_factory=Samples)
    round: int = 0
    _rates: dict = field(default_factory=dict)
    _highest: dict = field(default_factory=dict)

    @cached_property
    def idle_databases(self):
        """Of proxies that nothing is asked of."""
        return self.deployment.postgres.databases("idle")

    @cached_property
    def plain_tables(self):
        return PlainTables(self.settings, self.deployment.postgres)

    def add(self, prefix, **figures):
        self.samples.add(self.round, prefix, **figures)

    def settle_disk(self, prefix):
        """What earlier runs wrote is on the disk, and does not slow down what is measured next. How fast the disk is
        then is noted: a virtual one changes under one's hands, and with it every figure of a durable write."""
        os.sync()
        self.add(f"disk/{prefix}", synced_write=synced_write_us(self.deployment.directory))

    def highest(self, name, rate):
        """The highest rate that was measured under a name so far."""
        self._highest[name] = max(rate, self._highest.get(name, 0))
        return self._highest[name]

    def load(self, target, operation, **options):
        return generators.load(self.settings, target.address, operation, **options)

    def fill(self, target):
        """Every key has a value, and each is read once: what has a cache holds them all afterwards."""
        self.load(target, "set", order="once", depth=16, num_keys=KEYS, value_bytes=VALUE_BYTES)
        self.warm(target)

    def warm(self, target):
        answer = self.load(target, "get", order="once", depth=16, num_keys=KEYS)
        if answer["found"] != KEYS:
            raise Failure(f"{target.address}: only {answer['found']} of {KEYS} keys are there")

    def redis_benchmark(self, target, operation, depth, seconds):
        """How many requests, about as many as take so long, and how many a second."""
        self.calibrate(target, operation, depth)
        together = depth * CONNECTIONS
        rate = self._rates[target.address, operation, depth]
        requests = max(1, round(rate * self.settings.seconds(seconds) / together)) * together
        return requests, self._redis_benchmark(target, operation, depth, requests)

    def calibrate(self, target, operation, depth):
        """redis-benchmark is told how many requests to make; a short run finds out how many a second there are."""
        which = (target.address, operation, depth)
        if which not in self._rates:
            self._rates[which] = self._redis_benchmark(target, operation, depth, 10_000 * min(depth, 10))

    def _redis_benchmark(self, target, operation, depth, requests):
        return generators.redis_benchmark(self.settings, target.port, operation, depth, requests)


class CpuMeter:
    """Processor time that the parts of a target, and the load generators, take within the context."""

    def __init__(self, parts):
        self._parts = parts

    def __enter__(self):
        self._before = self._now()
        return self

    def __exit__(self, *_):
        after = self._now()
        self.seconds = {name: after[name] - self._before[name] for name in after}

    def micros_each(self, operations):
        return {name: seconds / operations * 1e6 for name, seconds in self.seconds.items()}

    def _now(self):
        used = {name: cpu_seconds(server.pid) for name, server in self._parts.items()}
        used["load"] = generators.generator_cpu_seconds()
        return used


def add_cpu(bench, prefix, meter, operations):
    """As `cpu/<prefix>/<part>`, in microseconds an operation."""
    bench.add(f"cpu/{prefix}", **meter.micros_each(operations))
