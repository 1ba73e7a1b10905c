"""The servers: what is measured, what it is measured against, and what both stand on."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from functools import cached_property

from .failure import Failure
from .generators import run
from .processes import privileges
from .settings import ROOT, SHARDS

FASTAPI_WORKERS = 2
"""One for each of the two processors that these benchmarks were made on; there, three and four were no faster."""


class Deployment:
    """Each server is started when a row first asks for it."""

    def __init__(self, settings, processes):
        self._settings = settings
        self._processes = processes
        self.directory = processes.dir

    @cached_property
    def redis(self):
        """The one to compare with, alone in a way that a proxy's cache is not: nobody else uses it."""
        return self._redis("redis")

    @cached_property
    def cache(self):
        return self._redis("cache")

    @cached_property
    def twemproxy(self):
        """In front of the Redis to compare with; None if there is no nutcracker."""
        program = self._settings.optional_program("nutcracker")
        if program is None:
            return None
        port = self._processes.free_port()
        directory = self._processes.make_dir("twemproxy")
        config = directory / "nutcracker.yml"
        # The settings of its own example, without ejecting a server that is slow for a moment.
        config.write_text(
            f"bench:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n"
            f"  auto_eject_hosts: false\n  servers:\n   - 127.0.0.1:{self.redis.port}:1\n"
        )
        # Its statistics can't be switched off, and listen on every address otherwise.
        stats = ["-a", "127.0.0.1", "-s", self._processes.free_port()]
        return self._processes.start("twemproxy", [program, "-c", config, *stats], port)

    @cached_property
    def predixy_1(self):
        return self._predixy(1)

    @cached_property
    def predixy_2(self):
        return self._predixy(2)

    @cached_property
    def postgres(self):
        return Postgres(self._settings, self._processes)

    @cached_property
    def shard_databases(self):
        return self.postgres.databases("appdb")

    @cached_property
    def respgres(self):
        urls = [self.postgres.url(database) for database in self.shard_databases]
        return self.start_respgres("respgres", urls, self.cache)

    @contextmanager
    def fresh_respgres(self, name, databases, **settings):
        """A proxy that nothing was asked of yet; it ends with the context."""
        urls = [self.postgres.url(database) for database in databases]
        proxy = self.start_respgres(name, urls, self.cache, **settings)
        try:
            yield proxy
        finally:
            self._processes.stop(proxy.server)

    @cached_property
    def embedded(self):
        return self.start_respgres("embedded", [], None)

    def start_respgres(self, name, shard_urls, cache, **settings):
        """A proxy; with no shards, an embedded one. `parts`: whose processor time is counted."""
        directory = self._processes.make_dir(name)
        port, http_port = self._processes.free_port(), self._processes.free_port()
        # Nothing but these comes from this script's environment.
        env = {
            "PATH": os.environ["PATH"],
            "RUST_LOG": "warn",
            "RESP_ADDR": f"127.0.0.1:{port}",
            "HTTP_ADDR": f"127.0.0.1:{http_port}",
            "DATA_DIR": str(directory / "data"),
            **{f"SHARD_{number}_URL": url for number, url in enumerate(shard_urls)},
            **{key.upper(): str(value) for key, value in settings.items()},
        }
        if cache is not None:
            env["REDIS_URL"] = f"redis://127.0.0.1:{cache.port}"
        server = self._processes.start(name, [self._settings.program("respgres")], port, env=env, cwd=directory)
        parts = {"proxy": server}
        if cache is not None:
            parts["Redis"] = cache
        if shard_urls:
            parts["PostgreSQL"] = self.postgres.server
        return Respgres(server, http_port, parts)

    @cached_property
    def fastapi(self):
        """The peer of the side port, with a cache and databases of its own."""
        cache = self._redis("fastapi-cache")
        port = self._processes.free_port()
        urls = [self.postgres.url(database) for database in self.postgres.databases("fastapi")]
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "REDIS_URL": f"redis://127.0.0.1:{cache.port}",
            **{f"SHARD_{number}_URL": url for number, url in enumerate(urls)},
        }
        command = [sys.executable, "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", port]
        command += ["--workers", FASTAPI_WORKERS, "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        command += ["--log-level", "warning"]
        server = self._processes.start("fastapi", command, port, env=env, cwd=ROOT / "benchmarks/peers/fastapi")
        return FastApi(server, cache, self._settings)

    def _redis(self, name):
        port = self._processes.free_port()
        directory = self._processes.make_dir(name)
        command = [self._settings.program("redis-server"), "--port", port, "--bind", "127.0.0.1"]
        return self._processes.start(name, [*command, "--save", "", "--appendonly", "no", "--dir", directory], port)

    def _predixy(self, workers):
        program = self._settings.optional_program("predixy")
        if program is None:
            return None
        name = f"predixy-{workers}"
        port = self._processes.free_port()
        config = self._processes.make_dir(name) / "predixy.conf"
        config.write_text(
            f"Name {name}\nBind 127.0.0.1:{port}\nWorkerThreads {workers}\nClientTimeout 0\n"
            "Authority {\n  Auth {\n    Mode write\n  }\n}\n"
            "StandaloneServerPool {\n  RefreshMethod fixed\n  Databases 1\n  Hash crc16\n  Distribution modula\n"
            "  MasterReadPriority 100\n  StaticSlaveReadPriority 0\n  DynamicSlaveReadPriority 0\n"
            f"  ServerTimeout 0\n  KeepAlive 0\n  Group bench {{\n    + 127.0.0.1:{self.redis.port}\n  }}\n}}\n"
        )
        return self._processes.start(name, [program, config], port)


class Respgres:
    """A proxy, and what it stands on."""

    def __init__(self, server, http_port, parts):
        self.server = server
        self.port = server.port
        self.address = server.address
        self.http_address = f"127.0.0.1:{http_port}"
        self.parts = parts

    def stats(self):
        with urllib.request.urlopen(f"http://{self.http_address}/stats", timeout=10) as answer:
            return json.load(answer)

    def reads(self):
        """Hits and misses since it started."""
        stats = self.stats()
        if not stats["cache_available"]:
            raise Failure("respgres goes on without its cache; see its log:\n" + self.server.log())
        return stats["cache_hits"], stats["cache_misses"]

    def check(self):
        for server in self.parts.values():
            server.check()


class FastApi:
    """The peer, and its cache."""

    def __init__(self, server, cache, settings):
        self.server = server
        self.http_address = server.address
        self._cache = cache
        self._settings = settings

    def reads(self):
        """Hits and misses of its cache since it started."""
        stats = run([self._settings.program("redis-cli"), "-h", "127.0.0.1", "-p", self._cache.port, "INFO", "stats"])
        return tuple(int(re.search(rf"keyspace_{kind}:(\d+)", stats)[1]) for kind in ("hits", "misses"))

    def check(self):
        self.server.check()


class Postgres:
    """One server. Everything is as PostgreSQL has it by default, fsync and synchronous_commit too, except that it
    allows more connections, since all that use it in turn keep theirs."""

    user = "dbuser"

    def __init__(self, settings, processes):
        self._settings = settings
        directory = processes.make_dir("postgres", for_postgres=True)
        data = directory / "data"
        self.scratch_dir = processes.make_dir("pgbench")
        initdb = [settings.program("initdb"), "-D", data, "-U", self.user, "-A", "trust", "-E", "UTF8", "--locale=C"]
        if os.geteuid() == 0:
            initdb = ["setpriv", *privileges(as_postgres=True), *initdb]
        run(initdb, cwd=directory)
        self.port = processes.free_port()
        command = [settings.program("postgres"), "-D", data, "-p", self.port]
        for name, value in [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("max_connections", 300),
        ]:
            command += ["-c", f"{name}={value}"]
        self.server = processes.start("postgres", command, self.port, as_postgres=True, cwd=directory)
        self._await_ready()

    def databases(self, name, number=SHARDS):
        """Makes them; their names."""
        names = [f"{name}_shard_{shard}" for shard in range(number)]
        for database in names:
            self.sql("postgres", f"CREATE DATABASE {database}")
        return names

    def url(self, database):
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def sql(self, database, *statements):
        """What psql prints."""
        command = [
            self._settings.program("psql"),
            "-X",
            "-q",
            "-t",
            "-A",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.url(database),
        ]
        for statement in statements:
            command += ["-c", statement]
        return run(command)

    def settle(self, databases):
        """After many rows were loaded: what would be done in the background soon, at somebody's cost, is done now."""
        for database in databases:
            self.sql(database, "VACUUM ANALYZE")
        self.sql("postgres", "CHECKPOINT")

    def _await_ready(self):
        for _ in range(100):
            ready = [self._settings.program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
            if subprocess.run(ready, check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise Failure("PostgreSQL listens, but takes no connections:\n" + self.server.log())
