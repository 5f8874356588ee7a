import json

import pytest

from systolith.cli import main


class Run:
    """One run of the command line in this process: exit code, stdout, stderr."""

    def __init__(self, code, captured):
        self.code, self.out, self.err = code, captured.out, captured.err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def systolith(capsys):
    """Return a function that runs a command line."""
    def run(*arguments):
        capsys.readouterr()
        return Run(main.execute([str(argument) for argument in arguments]), capsys.readouterr())
    return run
