"""Systolith: an FPGA CNN accelerator generator.

``systolith.hw`` is what becomes silicon, ``systolith.sw`` what runs on the host, ``systolith.sim``
the models of both, ``systolith.boards`` the targets and their build flow, ``systolith.cli`` the
command line above them all.
"""

__version__ = "0.1.0"
