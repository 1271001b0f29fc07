"""The C stub that is mapped into every guest process, and how it is built."""
