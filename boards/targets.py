"""The targets by name."""

import json
from pathlib import Path

from systolith.boards.colorlight_i5 import COLORLIGHT_I5
from systolith.boards.ecpix5 import ECPIX5_85F
from systolith.boards.errors import BoardError
from systolith.boards.icebreaker import ICEBREAKER
from systolith.boards.orangecrab import ORANGECRAB_25F
from systolith.boards.tang_nano_20k import TANG_NANO_20K
from systolith.boards.target import Target
from systolith.boards.ulx3s import ULX3S_85F, ULX3S_85F_MIXED, ULX3S_85F_TRAIN
from systolith.hw.config import Config, ConfigError

__all__ = ["TARGETS", "find_config", "find_target"]

#: Every board, by its name on the command line; docs/results.md says what each build reaches.
TARGETS: dict[str, Target] = {target.name: target for target in (
    ULX3S_85F, ULX3S_85F_MIXED, ULX3S_85F_TRAIN, ECPIX5_85F, ORANGECRAB_25F, COLORLIGHT_I5,
    TANG_NANO_20K, ICEBREAKER)}


def find_target(name: str) -> Target:
    """Return the target called ``name``.

    Raises
    ------
    BoardError
        If there is none; the message lists what there is.
    """
    if name not in TARGETS:
        raise BoardError(f"no target {name!r}; there are: {', '.join(TARGETS)}")
    return TARGETS[name]


def find_config(name: str) -> Config:
    """Return the configuration of a target, or the one in a ``.json`` file.

    Raises
    ------
    BoardError
        If there is no such target or file, or the file holds no possible configuration.
    """
    if name in TARGETS:
        return TARGETS[name].config
    if not name.endswith(".json"):
        raise BoardError(f"no target {name!r}; there are: {', '.join(TARGETS)}, or give a "
                         "configuration as a .json file (systolith targets --json shows one)")
    path = Path(name)
    try:
        return Config.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BoardError(f"{path}: no such configuration file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BoardError(f"{path}: not a JSON file: {error}") from error
    except ConfigError as error:
        raise BoardError(f"{path}: {error}") from error
