"""What the kernel says about a process: processor time and memory."""

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process, of its children that live, and of those that it has waited for.

    So a PostgreSQL server includes its backends, those that came and went within a run too.
    """
    total = 0
    for process, reaped in [(pid, True), *((child, False) for child in children(pid))]:
        fields = _stat(process)
        if fields is not None:
            # utime, stime, cutime, cstime: fields 14 to 17 in proc(5), where the first here is 3.
            total += sum(map(int, fields[11:15] if reaped else fields[11:13]))
    return total / TICKS_PER_SECOND


def children(pid):
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        return []


def resident_bytes(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _stat(pid):
    try:
        # The name, in parentheses, may have spaces in it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
