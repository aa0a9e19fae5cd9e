import torch

from trainables.data import Mask
from trainables.patch_autoencoder import hole_corners


def test_corners_are_the_holes_first_row_and_column() -> None:
    known = torch.ones(2, 1, 32, 32)
    known[0, :, 3:15, 7:19] = 0
    known[1, :, 20:32, 0:12] = 0
    assert hole_corners(known).tolist() == [[3, 7], [20, 0]]
    assert Mask("random_square", 12).hole_px == 12
