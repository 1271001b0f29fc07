"""Snapshots: what a machine changed, as an archive (changes), and such archives put into another one (merge).

A library: it works on a COW directory, knows nothing of processes, and is used by the command, by a running machine's
supervisor and at start.
"""
