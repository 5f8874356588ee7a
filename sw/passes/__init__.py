"""Passes over the graph: each takes one, checks or rewrites it."""
