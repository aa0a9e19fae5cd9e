"""Images and holes: named image sets as memory-mapped uint8 arrays, masks, augmentation, and the stream of training batches."""

from trainables.data.augment import Augmentation
from trainables.data.batches import Batch, batches, to_tensor
from trainables.data.masks import MASK_KINDS, Mask
from trainables.data.source import PUBLISHABLE, READERS, ImageSource, open_images
from trainables.data.splits import SPLITS, Images

__all__ = [
    "MASK_KINDS",
    "PUBLISHABLE",
    "READERS",
    "SPLITS",
    "Augmentation",
    "Batch",
    "ImageSource",
    "Images",
    "Mask",
    "batches",
    "open_images",
    "to_tensor",
]
