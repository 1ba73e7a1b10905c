"""Servers as child processes, and the ports they listen on."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .failure import Failure

START_LIMIT_S = 60
STOP_LIMIT_S = 30


class Processes:
    """A directory, and servers whose files are in it. Leaving the context ends them, the last one first."""

    def __init__(self):
        self._started = []
        self._ports = set()

    def __enter__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="respgres-bench."))
        # PostgreSQL may run as another user.
        self.dir.chmod(0o755)
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not leave servers behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for server in reversed(self._started):
            server.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def free_port(self):
        """One that nobody listens on, below those that the kernel gives to outgoing connections."""
        while True:
            port = random.randrange(20_000, 30_000)
            if port in self._ports:
                continue
            self._ports.add(port)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            return port

    def make_dir(self, name, for_postgres=False):
        path = self.dir / name
        path.mkdir(exist_ok=True)
        if for_postgres and os.geteuid() == 0:
            owner = postgres_user()
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return path

    def start(self, name, command, port, *, env=None, as_postgres=False, cwd=None):
        """Starts a server and waits until it listens."""
        log = self.dir / f"{name}.log"
        server = Server(name, command, port, log, env, as_postgres, cwd or self.dir)
        self._started.append(server)
        server.await_port()
        return server

    def stop(self, server):
        server.stop()
        self._started.remove(server)


class Server:
    """A process that listens on a port of 127.0.0.1."""

    def __init__(self, name, command, port, log, env, as_postgres, cwd):
        self.name = name
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self._log = log
        # Should this script be killed, its servers end too.
        command = ["setpriv", "--pdeathsig", "TERM", *privileges(as_postgres), *map(str, command)]
        with open(log, "wb") as out:
            # In a process group of its own, so that Ctrl-C reaches this script alone.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd, process_group=0
            )

    @property
    def pid(self):
        return self._process.pid

    def await_port(self):
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise Failure(f"{self.name} did not start:\n{self.log()}")

    def check(self):
        """A server that died during a run makes it void."""
        if self._process.poll() is not None:
            raise Failure(f"{self.name} ended during the benchmark:\n{self.log()}")

    def log(self):
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def stop(self):
        if self._process.poll() is None:
            # PostgreSQL: a fast shutdown, which ends its sessions.
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def postgres_user():
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise Failure(
            "PostgreSQL refuses to run as root, and there is no user postgres: run this as another user"
        ) from None


def privileges(as_postgres):
    """Options of setpriv."""
    if not as_postgres or os.geteuid() != 0:
        return []
    owner = postgres_user()
    return [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
