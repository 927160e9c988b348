"""What a run keeps on disk: its directory, its journal and its results."""
