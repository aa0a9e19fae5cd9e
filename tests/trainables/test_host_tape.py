"""What a step does on the CPU is done again as the step would do it; "meta" stands for the GPU."""

import torch
from torch import Tensor

from trainables.dcgan import DcganConfig, draw_labels
from trainables.game import noise_at
from trainables.host_tape import HostTape


def step(epoch: float) -> list[Tensor]:
    """The kinds of draw and of constant that steps have."""
    noise = noise_at(epoch)
    labels = [draw_labels(DcganConfig(), 4, real=real, noise=noise).to("meta") for real in (True, False)]
    latent = (torch.rand(2, 3, device="cpu") * 2 - 1).to("meta")
    chosen = torch.zeros(6, dtype=torch.bool)
    chosen[torch.randperm(6)[:2]] = True
    assert bool(chosen.any())
    places = [part.nonzero()[:, 0].to("meta") for part in chosen.tensor_split(1)]
    constants = [torch.ones(3).to("meta"), latent.new_tensor((1, 2)), torch.tensor([1.0], device="meta")]
    return [*labels, latent, *places, *constants]


def taped(epoch: float) -> HostTape:
    first = HostTape("meta")
    with first:
        sent = step(epoch)
    tape = HostTape("meta", first.buffers)
    with tape:
        given_out = step(epoch)
    assert all(one is other for one, other in zip(sent, given_out, strict=True))
    assert (first.obstacle, tape.obstacle) == ("", "")
    return tape


def test_a_replay_draws_what_the_step_would_draw() -> None:
    tape = taped(0.5)
    torch.manual_seed(1)
    replayed = tape.replay(lambda: noise_at(0.75))
    after = torch.get_rng_state()
    torch.manual_seed(1)
    expected = HostTape("meta")
    with expected:
        step(0.75)
    assert torch.equal(after, torch.get_rng_state())
    assert replayed is not None
    assert len(replayed) == 5  # two of labels, latent, places, and the constant that is computed on the CPU
    for (buffer, drawn), (_, wanted) in zip(replayed, expected.sources(), strict=True):
        assert torch.equal(drawn, wanted)
        assert buffer.shape == drawn.shape


def test_a_replay_tells_where_python_would_go_another_way() -> None:
    def branching() -> None:
        draw = torch.rand(3)
        (draw if bool(draw[0] < 0.5) else draw + 1).to("meta")

    torch.manual_seed(0)
    first = HostTape("meta")
    with first:
        branching()
    tape = HostTape("meta", first.buffers)
    with tape:
        branching()
    ways = {tape.replay(lambda: noise_at(0.0)) is None for _ in range(50)}
    assert ways == {True, False}


def test_what_cannot_be_recorded_is_told() -> None:
    tape = HostTape("meta")
    with tape:
        torch.ones(2, device="meta") + torch.ones(())
    assert "uses a CPU tensor on the device" in tape.obstacle
