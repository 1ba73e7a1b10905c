"""That a run of reads was what it was to be."""

from contextlib import contextmanager

from .failure import Failure


@contextmanager
def only(kind, target, what):
    """Fails unless all that `target` is asked within the context are `hits`, or `misses`."""
    before = target.reads()
    yield
    hits, misses = (after - count for after, count in zip(target.reads(), before, strict=True))
    wanted, others = (hits, misses) if kind == "hits" else (misses, hits)
    if others or not wanted:
        raise Failure(f"{what}: {hits} hits and {misses} misses; a run for {kind} is to have nothing else")
