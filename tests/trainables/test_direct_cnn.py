from trainables.data import Mask
from trainables.direct_cnn import DirectCnn, DirectCnnConfig


def test_the_documents_own_configuration_has_its_parameters() -> None:
    assert DirectCnn(DirectCnnConfig(), 32, Mask("random_square", 12)).parameters == 318659
