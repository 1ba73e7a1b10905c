"""Memory of the proxy, idle and with connections that do nothing."""

import subprocess
import time

from ..failure import Failure
from ..marks import Mark
from ..procfs import resident_bytes
from ..settings import VALUE_BYTES

CONNECTIONS = 10_000
SETTLE_S = 1.5
HOLD_LIMIT_S = 120

FIRST_COMMANDS = {"ping-get": "PING and GET", "set": f"SET of {VALUE_BYTES} bytes"}


def prepare(bench):
    """A first proxy makes the tables; that is not what an idle one remembers."""
    with _fresh(bench):
        pass


def measure(bench):
    for first_command in FIRST_COMMANDS:
        with _fresh(bench) as proxy:
            time.sleep(SETTLE_S)
            idle = resident_bytes(proxy.server.pid)
            with _Held(bench.settings, proxy.address, first_command) as connections:
                time.sleep(SETTLE_S)
                proxy.check()
                each = (resident_bytes(proxy.server.pid) - idle) / connections
        bench.add(f"memory/{first_command}", connections=connections, idle_mib=idle / 2**20, each_kib=each / 2**10)


def _fresh(bench):
    return bench.deployment.fresh_respgres("idle", bench.idle_databases, max_clients=CONNECTIONS + 100)


class _Held:
    """Connections that did something once; how many there are."""

    def __init__(self, settings, address, first_command):
        wanted = settings.count(CONNECTIONS)
        command = [settings.program("load"), "idle", address, "--connections", str(wanted)]
        self._command = [*command, "--first-command", first_command, "--value-bytes", str(VALUE_BYTES)]
        self._wanted = wanted

    def __enter__(self):
        self._holder = subprocess.Popen(
            ["timeout", str(HOLD_LIMIT_S), *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if not self._holder.stdout.readline():
            self.__exit__()
            raise Failure(
                f"{self._wanted} connections can't be held; ulimit -n has to be above that:"
                f" {self._holder.stderr.read()}"
            )
        return self._wanted

    def __exit__(self, *_):
        self._holder.stdin.close()
        self._holder.wait()


def report(samples):
    connections = samples.spread("memory/ping-get/connections").median
    lines = [
        "## Memory",
        "",
        f"The resident memory of a fresh proxy, and what {connections:,.0f} connections add to it that did something once"
        " and now do nothing.",
        "",
        "| each connection did | idle MiB | KiB for each connection |",
        "|---|---:|---:|",
    ]
    for first_command, text in FIRST_COMMANDS.items():
        idle, each = (samples.spread(f"memory/{first_command}/{figure}") for figure in ("idle_mib", "each_kib"))
        lines.append(f"| {text} | {idle.text(1)} | {each.text(1)} |")
    return "\n".join(lines)


def marks(samples):
    found = [
        Mark(6, "memory, idle", "below 30 MiB", 30, samples.spread("memory/ping-get/idle_mib"), " MiB", at_least=False)
    ]
    for first_command, text in FIRST_COMMANDS.items():
        each = samples.spread(f"memory/{first_command}/each_kib")
        found.append(Mark(6, f"each idle connection, after {text}", "below 20 KiB", 20, each, " KiB", at_least=False))
    return found
