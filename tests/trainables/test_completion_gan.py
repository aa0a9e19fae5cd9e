from trainables.completion_gan import CompletionGan, CompletionGanConfig
from trainables.data import Mask


def test_the_documents_own_configuration_has_its_parameters() -> None:
    generator = 25 * 4 * 64 + 64 + 5 * (25 * 64 * 64 + 64) + 25 * 64 * 3 + 3
    discriminator = 9 * 3 * 64 + 64 + 4 * (9 * 64 * 64 + 64) + 256 + 1
    assert CompletionGan(CompletionGanConfig(), 32, Mask("random_square", 12)).parameters == generator + discriminator
