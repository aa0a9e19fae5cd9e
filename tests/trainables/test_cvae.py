from trainables.cvae import Cvae, CvaeConfig
from trainables.data import Mask


def test_the_documents_own_configuration_has_its_parameters() -> None:
    assert Cvae(CvaeConfig(), 32, Mask("random_square", 12)).parameters == 4056419
