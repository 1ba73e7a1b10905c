"""How rate and latency change with one thing at a time; see benchmarks/README.md."""
