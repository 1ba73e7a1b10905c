"""What the figures were measured on, and with."""

import os
import platform
import re
import time
from pathlib import Path
from statistics import median

from .failure import Failure
from .generators import run

SYNCED_WRITES = 200


def describe(settings, directory):
    """Lines of a list."""
    processors = f"{os.cpu_count()} processors ({_processor()}), {_memory_gib():.0f} GiB of memory"
    return [
        f"{processors}, {_system()}, Linux {platform.release()}, databases on {_filesystem(directory)}",
        "; ".join(versions(settings)),
    ]


def versions(settings):
    found = [
        run([settings.program("respgres"), "--version"]).strip(),
        re.sub(r".*\) ", "PostgreSQL ", run([settings.program("postgres"), "--version"]).split(" (Debian")[0].strip()),
        "Redis " + re.search(r"v=(\S+)", run([settings.program("redis-server"), "--version"]))[1],
    ]
    return found


def _processor():
    match = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M)
    return match[1] if match else platform.machine()


def _memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _system():
    return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")


def _filesystem(directory):
    """The type of the mount that a directory is on."""
    found = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split(" ")
        if directory.is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    if found[1] in ("tmpfs", "ramfs"):
        raise Failure(
            f"{directory} is in memory ({found[1]}), where nothing is durable: set TMPDIR to a directory on a disk"
        )
    return found[1]


def synced_write_us(directory):
    """What a write of 8 KiB and fdatasync take; the median of some."""
    took = []
    path = directory / "synced"
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.write(file, bytes(8192 * 16))
        os.fsync(file)
        for number in range(SYNCED_WRITES):
            start = time.perf_counter()
            os.pwrite(file, bytes(8192), 8192 * (number % 16))
            os.fdatasync(file)
            took.append((time.perf_counter() - start) * 1e6)
    finally:
        os.close(file)
        path.unlink()
    return median(took)
