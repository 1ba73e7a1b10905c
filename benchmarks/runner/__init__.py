"""Measures respgres beside its peers; see benchmarks/README.md."""
