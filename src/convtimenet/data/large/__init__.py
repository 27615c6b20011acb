"""Tables larger than memory: read in parts of whole series, kept in memory-mapped files."""
