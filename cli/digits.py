"""Pictures in the terminal: two pixels a character, with half blocks."""

import numpy as np

__all__ = ["picture"]

#: Character by upper + 2 * lower pixel.
_BLOCKS = " ▀▄█"


def picture(pixels: np.ndarray, threshold: int = 96) -> str:
    """Draw a grey picture in black and white, as wide and half as high as it is.

    Parameters
    ----------
    pixels : uint8[h, w]
        Brightness; h must be even.
    threshold : int
        Pixels this bright are drawn.
    """
    lit = pixels >= threshold
    return "\n".join("".join(_BLOCKS[code] for code in row) for row in lit[::2] + 2 * lit[1::2])
