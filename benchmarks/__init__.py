"""How fast AppPot is beside native and its peers: `python -m benchmarks`."""
