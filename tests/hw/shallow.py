"""What makes a configuration shallow."""

__all__ = ["SHALLOW"]

SHALLOW = {"pipelining": "shallow", "multiplier_stages": 2, "residual": False,
           "prefetch_descriptors": False}
