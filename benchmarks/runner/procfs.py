"""What the kernel says about a process: processor time and memory."""

import os
from pathlib import Path

from .failure import Failure

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process, of its children that live, and of those that it has waited for.

    So a PostgreSQL server includes its backends, those that came and went within a run too.
    """
    while True:
        living = children(pid)
        times = [_ticks(pid, reaped=True), *(_ticks(child, reaped=False) for child in living)]
        if times[0] is None:
            raise Failure(f"a server, process {pid}, ended during the benchmark")
        # A child that ended meanwhile may be counted twice, or not at all.
        if None not in times and children(pid) == living:
            return sum(times) / TICKS_PER_SECOND


def children(pid):
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except (FileNotFoundError, ProcessLookupError):
        return []


def resident_bytes(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _ticks(pid, *, reaped):
    """None: the process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may have spaces in it. After it, at 3 in proc(5), the fields begin; utime, stime, cutime
    # and cstime are 14 to 17.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15] if reaped else fields[11:13]))
