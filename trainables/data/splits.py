"""Three disjoint splits of one image set."""

from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Images:
    """A data set ready for use.

    Attributes:
        train: (N, H, W, 3) uint8; the only images that weights are fitted to.
        validation: (N, H, W, 3) uint8; chooses among configurations and epochs.
        test: (N, H, W, 3) uint8; measured once, chooses nothing.
        skipped: names of files that did not decode.
        fingerprint: 16 hexadecimal digits of the whole prepared set's SHA-256; empty before it is prepared.
        prepared: the folder of the prepared arrays, of which a node may have mapped its own copy; empty before.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    skipped: tuple[str, ...] = ()
    fingerprint: str = ""
    prepared: str = ""
