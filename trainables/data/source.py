"""Named image sets, prepared once into uint8 arrays that every process of a node maps into memory.

`open_images` reads a set, splits it, writes three `.npy` files under the data folder and returns them memory-mapped: trials on one
node read the same pages, none holds a copy. Preparing the same set twice, even at the same moment, gives the same files. Where the node
has a cache (`trainables.data.node_cache`), its copy of the files is mapped instead.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data import cifar10, folder, photos
from trainables.data.node_cache import META, cache_folder, copied
from trainables.data.splits import SPLITS, Images
from trainables.errors import ConfigError, DataError

DEFAULT_DATA_DIR = Path("~/.cache/inpaint-sweeps")
LAYOUT_VERSION = 3


@dataclass(frozen=True)
class ImageSource:
    """Which images, at which size, and how many of each split.

    Attributes:
        name: a key of `READERS`, or "folder:PATH".
        image_px: side of the square images.
        train: how many training images to use, the first ones; None = all.
        validation: likewise for the validation split.
        test: likewise for the test split.
        data_dir: folder of the named sets and of the prepared arrays; None = SWEEP_DATA_DIR, or ~/.cache/inpaint-sweeps.
        prepared: `Images.prepared` of whoever has prepared the set already; the originals are looked at only where that folder, or one of
            its name in the data folder, is not there. None = this process prepares the set where that has not been done.
        fingerprint: that the arrays must have; given where `prepared` is.
    """

    name: str
    image_px: int = 32
    train: int | None = None
    validation: int | None = None
    test: int | None = None
    data_dir: str | None = None
    prepared: str | None = None
    fingerprint: str | None = None

    @property
    def folder(self) -> Path:
        """The data folder, resolved; the environment is asked where `data_dir` is not given."""
        return Path(self.data_dir or os.environ.get("SWEEP_DATA_DIR") or DEFAULT_DATA_DIR).expanduser().resolve()

    def check(self) -> None:
        """Raises ConfigError for a name, size or count that cannot be; touches no file."""
        if self.name not in READERS and not self.name.startswith("folder:"):
            raise ConfigError(f"data.name must be one of {', '.join(READERS)} or folder:PATH, but got {self.name!r}; name one of these")
        if not 8 <= self.image_px <= 1024:
            raise ConfigError(f"data.image_px must lie in [8, 1024], but got {self.image_px}; choose a size in that range")
        for split in SPLITS:
            count = getattr(self, split)
            if count is not None and count < 1:
                raise ConfigError(f"data.{split} must be at least 1, but got {count}; leave it out to use all images")
        if (self.prepared is None) != (self.fingerprint is None):
            raise ConfigError(
                f"prepared and fingerprint go together, but got {self.prepared!r} and {self.fingerprint!r}; give both or none"
            )


Reader = Callable[[ImageSource], Images]

READERS: dict[str, Reader] = {
    "photos": lambda source: photos.read(source.image_px, source.train, source.validation, source.test),
    "cifar10": lambda source: cifar10.read(source.folder, source.image_px, label=None),
    "cifar10_cars": lambda source: cifar10.read(source.folder, source.image_px, label=cifar10.AUTOMOBILE),
    "faces": lambda source: folder.read(source.folder / "faces", source.image_px),
    "animals": lambda source: folder.read(source.folder / "animals", source.image_px),
    "scenes": lambda source: folder.read(source.folder / "scenes", source.image_px),
}

PUBLISHABLE = frozenset({"photos", "cifar10", "cifar10_cars"})  # what a published page may show; all others are the user's own


def open_images(source: ImageSource) -> Images:
    """Opens a set, preparing it first where that has not been done.

    Args:
        source: which images.

    Returns:
        Memory-mapped, read-only splits of at most the asked-for counts.

    Raises:
        ConfigError: an unknown name or an impossible size.
        DataError: images missing, unreadable, others than the fingerprint says or fewer than asked for, or a folder that cannot be written.
    """
    source.check()
    images = None
    if source.prepared is not None:
        told = Path(source.prepared)
        images = _open_first(source, [told, source.folder / "prepared" / told.name])
    if images is None:
        images = _open_first(source, [_made(source)])
    if images is None:
        raise DataError(f"the prepared images must stay where they are, but those of {source.name} vanished meanwhile; try again")
    return images


def _open_first(source: ImageSource, places: list[Path]) -> Images | None:
    """Opens the first prepared folder that is there, the node's copy of it where the node has a cache; None where none is."""
    found = next((place for place in places if (place / META).is_file()), None)
    cache = cache_folder()
    if cache is None:
        return None if found is None else _mapped(source, found, found)
    fingerprint = source.fingerprint or (_meta(found)["fingerprint"] if found else "")
    with copied(places[0].name, fingerprint, places, cache) as copy:
        return None if copy is None else _mapped(source, copy, found or places[0])


def _made(source: ImageSource) -> Path:
    """The prepared folder of a set, made from the originals where that has not been done.

    Raises:
        DataError: it cannot be made; where a sweep's driver has it, what this node lacks is told.
    """
    try:
        prepared = _prepared_folder(source)
        if not (prepared / META).exists():
            _prepare(source, prepared)
    except DataError as error:
        if source.prepared is None:
            raise
        raise DataError(
            f"every node must see the images that the sweep's driver has prepared, but node {os.uname().nodename} has neither the folder "
            f"{source.prepared} nor originals to prepare them from ({error}); let SWEEP_DATA_DIR name a folder on storage that all nodes "
            f"share, or copy that folder into {source.folder / 'prepared'} there"
        ) from error
    return prepared


def _meta(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / META).read_text()))


def _mapped(source: ImageSource, place: Path, prepared: Path) -> Images:
    """Maps the arrays that lie in a folder, which may be a copy of the prepared one.

    Raises:
        DataError: other images than the fingerprint says, or fewer than asked for.
    """
    meta = _meta(place)
    if source.fingerprint not in (None, meta["fingerprint"]):
        raise DataError(
            f"every node must train on the images that the sweep began with, fingerprint {source.fingerprint}, but those in {place} on "
            f"node {os.uname().nodename} have {meta['fingerprint']}; bring the originals there in line, or let all nodes share "
            "SWEEP_DATA_DIR"
        )
    arrays = {}
    for split in SPLITS:
        array = np.load(place / f"{split}.npy", mmap_mode="r")
        wanted = getattr(source, split)
        if wanted is not None and wanted > len(array):
            raise DataError(f"data.{split} asks for {wanted} images, but {source.name} has {len(array)} there; ask for at most that many")
        arrays[split] = array[:wanted]
    return Images(**arrays, skipped=tuple(meta["skipped"]), fingerprint=meta["fingerprint"], prepared=str(prepared))


def _prepared_folder(source: ImageSource) -> Path:
    """Where the arrays of a set lie; the name changes with everything that changes the arrays."""
    identity: dict[str, object] = {"name": source.name, "px": source.image_px, "version": LAYOUT_VERSION}
    if source.name == "photos":
        identity |= {split: getattr(source, split) for split in SPLITS}
    else:
        identity["files"] = folder.listing_digest(_original(source))
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    return source.folder / "prepared" / f"{source.name.split(':')[0]}-{source.image_px}px-{digest}"


def _original(source: ImageSource) -> Path:
    """The folder or file that a set is read from."""
    if source.name.startswith("folder:"):
        return Path(source.name.removeprefix("folder:")).expanduser().resolve()
    return source.folder / ("cifar10.npz" if source.name.startswith("cifar10") else source.name)


def _prepare(source: ImageSource, prepared: Path) -> None:
    """Reads, splits and writes; the folder appears whole or not at all."""
    images = folder.read(_original(source), source.image_px) if source.name.startswith("folder:") else READERS[source.name](source)
    digest = hashlib.sha256()
    try:
        prepared.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=prepared.parent))
    except OSError as error:
        raise DataError(
            f"the data folder must be writable, but {prepared.parent} is not ({error}); choose another with --data-dir"
        ) from error
    try:
        for split in SPLITS:
            array = getattr(images, split)
            digest.update(np.ascontiguousarray(array).data)
            np.save(draft / f"{split}.npy", array)
        meta = {"source": source.name, "image_px": source.image_px, "skipped": list(images.skipped), "fingerprint": digest.hexdigest()[:16]}
        (draft / META).write_text(json.dumps(meta, indent=2))
        draft.chmod(0o755)
        try:
            draft.rename(prepared)
        except OSError:  # another process was first: its arrays are the same
            if not (prepared / META).exists():
                raise
    except OSError as error:
        raise DataError(f"the prepared images must fit on the disk, but writing {prepared} failed ({error}); free space there") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
