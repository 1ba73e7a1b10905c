"""What the environment says about a run."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from .failure import Failure

ROOT = Path(__file__).resolve().parents[2]
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")

CONNECTIONS = 50
VALUE_BYTES = 100
KEYS = 10_000
SHARDS = 3
DEPTHS = (1, 16)


@dataclass(frozen=True)
class Settings:
    rows: tuple[str, ...]
    rounds: int
    scale: float
    """Multiplies how long each run takes, and how many rows are loaded; 1 is what RESULTS.md has."""
    target: Path
    """Where Cargo builds, and where what is not kept goes."""
    client_processors: tuple[int, ...] = ()
    """Those that load generators run on; none: wherever there is room."""
    programs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, known_rows, rounds=5):
        return cls(
            rows=_rows(known_rows),
            rounds=int(number("ROUNDS", rounds, 1, 1000)),
            scale=number("SCALE", 1, 0.001, 100),
            target=Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve(),
        )

    def scratch(self):
        """A directory for what is not published; made if it is missing."""
        path = self.target / "bench"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def seconds(self, seconds):
        return max(0.2, seconds * self.scale)

    def count(self, count):
        return max(1000, int(count * self.scale))

    def clients_on(self):
        """What a load generator is started by."""
        if not self.client_processors:
            return []
        return ["taskset", "--cpu-list", ",".join(map(str, self.client_processors))]

    def program(self, name):
        """The path of a program that has to be there."""
        path = self.optional_program(name)
        if path is None:
            raise Failure(
                f"{name} is missing; scripts/install-test-dependencies.sh --benchmarks installs what is needed"
            )
        return path

    def optional_program(self, name):
        """RESPGRES, PREDIXY and the like name a binary; else what was built, Debian's PostgreSQL 15, PATH."""
        if name not in self.programs:
            self.programs[name] = self._find(name)
        return self.programs[name]

    def _find(self, name):
        named = os.environ.get(name.upper().replace("-", "_"))
        if named:
            path = shutil.which(named)
            if path is None:
                raise Failure(f"{name.upper()}={named} is not a program")
            return str(Path(path).resolve())
        places = [self.target / "release", self.target / "release/examples", POSTGRES_15]
        # nutcracker is in /usr/sbin, which is not in everybody's PATH.
        path = os.pathsep.join([*map(str, places), os.environ.get("PATH", ""), "/usr/sbin"])
        return shutil.which(name, path=path)


def _rows(known):
    text = os.environ.get("ROWS", "").strip()
    if not text:
        return tuple(known)
    rows = [row.strip() for row in text.split(",")]
    for row in rows:
        if row not in known:
            raise Failure(f"ROWS={text}: there is no '{row}'; there are {', '.join(known)}")
    return tuple(row for row in known if row in rows)


def number(name, default, least, most):
    """Of the environment."""
    text = os.environ.get(name, "").strip() or str(default)
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise Failure(f"{name}={text} is not a number from {least} to {most}")
    return value
