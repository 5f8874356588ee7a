"""The command line: the top floor, which may use everything and which nothing uses."""
