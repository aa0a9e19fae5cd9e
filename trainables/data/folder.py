"""`folder:PATH`, and the folders `faces`, `animals`, `scenes` of the data folder: any folder of images.

Each image is resized so that its shorter side fits, and its centre cropped. By file name the last 200 images are the test split and
the 200 before them the validation split; of a folder with fewer than 1,400 images each takes a tenth.
"""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from trainables.data.splits import Images
from trainables.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
GREATEST_SPLIT = 200
LEAST_IMAGES = 10
LARGE = 7  # times the held-out images: such a folder can spare them


def read(path: Path, image_px: int) -> Images:
    """Reads every image below a folder.

    Args:
        path: the folder; folders inside it count too.
        image_px: side of the square that each image is brought to.

    Returns:
        The three splits, with the names of the files that did not decode.

    Raises:
        DataError: no such folder, no image in it, none that decodes, or fewer than ten.
    """
    names = image_files(path)
    arrays, skipped = [], []
    for name in names:
        try:
            with Image.open(name) as image:
                arrays.append(_square(image, image_px))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            skipped.append(str(name.relative_to(path)))
    if not arrays:
        raise DataError(
            f"a folder of images must hold some that decode, but all {len(names)} in {path} fail, the first {skipped[0]}; mend them"
        )
    if len(arrays) < LEAST_IMAGES:
        raise DataError(f"a folder must hold at least {LEAST_IMAGES} images to be split in three, but {path} has {len(arrays)}; add more")
    images = np.stack(arrays)
    held_out = GREATEST_SPLIT if len(images) >= LARGE * GREATEST_SPLIT else len(images) // 10
    train, validation, test = np.split(images, [len(images) - 2 * held_out, len(images) - held_out])
    return Images(train, validation, test, skipped=tuple(skipped))


def image_files(path: Path) -> list[Path]:
    """The images below a folder, sorted by name. Raises DataError where there is no folder or no image in it."""
    if not path.is_dir():
        raise DataError(
            f"a folder of images must exist, but {path} does not; put images there, or name their folder with --data-dir or folder:PATH"
        )
    names = sorted(name for name in path.rglob("*") if name.suffix.lower() in SUFFIXES and not name.name.startswith("."))
    if not names:
        raise DataError(f"a folder of images must hold {', '.join(SUFFIXES)} files, but {path} has none; put images there")
    return names


def listing_digest(path: Path) -> str:
    """Changes when a file below `path` (or the file `path`) is added, removed or written; "absent" where there is nothing."""
    if path.is_file():
        names = [path]
    elif path.is_dir():
        names = image_files(path)
    else:
        return "absent"
    digest = hashlib.sha256()
    for name in names:
        stat = name.stat()
        digest.update(f"{name}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _square(image: Image.Image, image_px: int) -> np.ndarray:
    """(image_px, image_px, 3) uint8: shorter side resized, centre cropped."""
    upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(ImageOps.fit(upright, (image_px, image_px), Image.Resampling.LANCZOS), np.uint8)
