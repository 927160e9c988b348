"""A run and a sweep: the command line, the replicas that stay warm, the files as they are written."""
