"""How fast AppPot is, beside native and PRoot: `python -m benchmarks`."""
