"""Settings of all tests."""

import os

from hypothesis import HealthCheck, settings

# The same examples on every run and machine; slow ones are bounded by their own counts.
settings.register_profile("repeatable", derandomize=True, deadline=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

# Consoles of the command line tests are as wide everywhere.
os.environ["COLUMNS"] = "120"
