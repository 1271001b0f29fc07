"""AppPot: run programs inside a root tree as an ordinary user, with copy-on-write."""

__version__ = "1.0.dev0"
