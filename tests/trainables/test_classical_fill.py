from trainables.classical_fill import ClassicalFill, ClassicalFillConfig
from trainables.data import Mask


def test_it_has_no_weights() -> None:
    assert ClassicalFill(ClassicalFillConfig(), 32, Mask("random_square", 12)).parameters == 0
