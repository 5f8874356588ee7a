import numpy as np

from systolith.cli.digits import picture


def test_two_pixels_a_character():
    pixels = np.array([[0, 255, 0, 255], [0, 0, 255, 255]], np.uint8)
    assert picture(pixels) == " ▀▄█"


def test_height_is_halved():
    assert picture(np.full((4, 3), 200, np.uint8)) == "███\n███"
    assert picture(np.full((4, 3), 200, np.uint8), threshold=201) == "   \n   "
