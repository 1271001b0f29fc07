"""Tests of the benchmarks: that what they say is what was measured."""
