"""Making images of others: one tree of files out of an image's layers, and writers of the formats."""
