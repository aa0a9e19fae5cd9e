import pytest
import torch
from torch import Tensor, nn

from trainables.data import Mask
from trainables.layers import layer_table
from trainables.partial_conv import PartialConv2d
from trainables.pconv_network import PconvNetwork, depth_of
from trainables.pconv_unet import PconvUnet, PconvUnetConfig


@pytest.mark.parametrize(
    ("image_px", "depth", "expected"),
    [
        (512, 0, 8),
        (256, 0, 7),
        (128, 0, 6),
        (64, 0, 5),
        (32, 0, 4),
        (1024, 0, 8),
        (96, 0, 5),
        (36, 0, 2),
        (4, 0, 1),
        (64, 3, 3),
        (1024, 9, 9),
    ],
)
def test_depth_follows_the_image_unless_it_is_given(image_px: int, depth: int, expected: int) -> None:
    assert depth_of(image_px, depth) == expected


def test_the_layers_of_the_published_network() -> None:
    """512 px, 64 filters, after Liu et al. 2018: filter sizes, filters, sizes of the maps, and what follows each layer."""
    with torch.device("meta"):
        model = PconvUnet(PconvUnetConfig(), 512, Mask("strokes"))
    rows = [row for row in layer_table(model) if row.kind == "PartialConv2d"]
    encoder, decoder = rows[:8], rows[8:]
    assert [row.filter for row in encoder] == ["7x7", "5x5", "5x5", *["3x3"] * 5]
    assert [row.output for row in encoder] == [
        *((256, 256, 64), (128, 128, 128), (64, 64, 256), (32, 32, 512), (16, 16, 512), (8, 8, 512), (4, 4, 512), (2, 2, 512))
    ]
    assert [row.follows for row in encoder] == [("ReLU",), *[("BatchNorm2d", "ReLU")] * 7]
    assert [row.stride for row in rows] == [2] * 8 + [1] * 8
    assert [row.filter for row in decoder] == ["3x3"] * 8
    assert [row.output for row in decoder] == [
        *((4, 4, 512), (8, 8, 512), (16, 16, 512), (32, 32, 512), (64, 64, 256), (128, 128, 128), (256, 256, 64), (512, 512, 3))
    ]
    assert [row.follows for row in decoder[:-1]] == [("BatchNorm2d", "LeakyReLU")] * 7
    assert "BatchNorm2d" not in decoder[-1].follows
    assert sum(row.parameters for row in layer_table(model)) == model.parameters


def test_parameters_worked_out_by_hand() -> None:
    """32 px, 8 filters: 8, 16, 32, 64 down; 64+32 to 32, 32+16 to 16, 16+8 to 8, 8+3 to 3 up. A bias where no batch norm follows."""
    encoder = 3 * 8 * 49 + 8 + 8 * 16 * 25 + 16 * 32 * 25 + 32 * 64 * 9
    decoder = ((64 + 32) * 32 + (32 + 16) * 16 + (16 + 8) * 8 + (8 + 3) * 3) * 9 + 3
    norms = 2 * (16 + 32 + 64 + 32 + 16 + 8)
    assert sum(weight.numel() for weight in PconvNetwork(8, 4).parameters()) == encoder + decoder + norms


def test_the_mask_reaches_the_decoder_by_both_ways() -> None:
    """A hole that covers all but a corner: each layer's mask is the plain dilation of the known pixels, worked out on its own."""
    network = PconvNetwork(8, 4).eval()
    known = torch.zeros(1, 1, 32, 32)
    known[:, :, :2, :2] = 1
    seen: list[tuple[Tensor, Tensor]] = []
    for module in network.modules():
        if isinstance(module, PartialConv2d):
            module.register_forward_hook(lambda layer, inputs, outputs: seen.append((inputs[1], outputs[1])))
    network(torch.rand(1, 3, 32, 32), known)
    corners = [int(updated[0, 0].sum(1).ne(0).sum()) for _, updated in seen]
    # Rows known of 32: 2; windows of 7 px and stride 2 that reach row 0 or 1: 3 of 16; of 5 px: 3 of 8; 3 of 4; of 3 px: 2 of 2.
    assert corners[:4] == [3, 3, 3, 2]
    assert corners[4:] == [4, 8, 16, 32]
    for place, (given, _) in enumerate(seen[4:]):  # the doubled mask, then the encoder's of that size, the input's last
        expected = known if place == 3 else seen[2 - place][1]
        assert torch.equal(given[:, 1:], expected)
        assert float(given[:, 0].min()) == 1


def test_batch_norm_is_where_it_should_be() -> None:
    network = PconvNetwork(8, 4)
    assert [isinstance(layer.norm, nn.BatchNorm2d) for layer in network.encoder] == [False, True, True, True]
    assert [isinstance(layer.norm, nn.BatchNorm2d) for layer in network.decoder] == [True, True, True, False]
