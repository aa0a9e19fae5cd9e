"""Plain trainings that `benchmarks.throughput` compares the models with: eager PyTorch, NCHW, float32, an ordinary DataLoader.

Each is written from the document that its model follows, as a reader would write it for himself: layers from the document's tables, losses
from its formulas, one `torch.optim` optimiser a network with its defaults, both sides of a game as in PyTorch's own DCGAN tutorial.
Nothing of `trainables` is used but what both must have alike: the configuration, the holes and the images.
"""

from benchmarks.references import animal_faces, beyond_cnns, density, lsgan, maggiordomo, progressive, thesis
from benchmarks.references.plain import HoledImages, Reference, take_over_weights

REFERENCES: dict[str, type[Reference]] = {
    "cnn_autoencoder": beyond_cnns.CnnAutoencoder,
    "dcgan": beyond_cnns.Dcgan,
    "wgan": beyond_cnns.Wgan,
    "pixel_cnn": density.PixelCnn,
    "flat_row_lstm": density.FlatRowLstm,
    "row_lstm": density.RowLstm,
    "diagonal_bilstm": density.DiagonalBilstm,
    "direct_cnn": thesis.DirectCnn,
    "image_autoencoder": thesis.ImageAutoencoder,
    "patch_autoencoder": thesis.PatchAutoencoder,
    "cvae": thesis.Cvae,
    "completion_gan": thesis.CompletionGan,
    "pixel_regression": animal_faces.PixelRegression,
    "neighbour_network": animal_faces.NeighbourNetwork,
    "context_encoder": maggiordomo.ContextEncoder,
    "pconv_unet": maggiordomo.PconvUnet,
    "lsgan": lsgan.Lsgan,
    "lsgan_autoencoder": lsgan.LsganAutoencoder,
    "pluralistic": progressive.Pluralistic,
    "progressive": progressive.Progressive,
    "animal_autoencoder": animal_faces.AnimalAutoencoder,
}

__all__ = ["REFERENCES", "HoledImages", "Reference", "take_over_weights"]
