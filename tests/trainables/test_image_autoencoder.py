from trainables.data import Mask
from trainables.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig


def test_the_documents_own_configuration_has_its_parameters() -> None:
    assert ImageAutoencoder(ImageAutoencoderConfig(), 32, Mask("random_square", 12)).parameters == 1349795
