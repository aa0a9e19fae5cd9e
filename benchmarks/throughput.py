"""How fast each model trains, in images a second, against a plain training of the same model.

    python -m benchmarks.throughput [--models dcgan wgan] [--seconds 1.2] [--device cuda --precision bfloat16]

Both train from the same initial weights with the same batch size, image size, holes and number of threads, in turn (A B A B ...), in one
process. One is the product: `Session.train` on memory-mapped uint8 images. The other is `benchmarks.references`: eager PyTorch, NCHW,
float32, an ordinary DataLoader. A step is forward, backward and update of every network of the model.

On the CPU the ratio is that of CPU times, which other processes on the machine hardly lengthen; the ratio of wall times stands beside it.
On a GPU it is that of wall times, at the sizes of `GPU_CASES`: the papers' batches, and images large enough to occupy it. The product's
steps are recorded there (`trainables.recorded`), unless --eager is given; --check-recorded says how far they are from unrecorded ones.

First both see the same 20 batches, with what is random in a model switched off (`CASES`), and their losses are compared. All learning
rates are a hundredth of the paper's there: at the full rates two orders of the same sums drift apart, since Adam's first steps have the
size of the rate whatever the gradient's, and a game or a batch norm over few images makes more of every difference. With a mixed precision
it is the final `l2_hole` that is compared, after `--compare-steps` batches at a tenth of the rates: within the first dozens of batches at
the full ones it falls so steeply that two trainings of equal mathematics differ by a third. --compare-steps 300 leads beyond that part.
"""

import argparse
import copy
import dataclasses
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from benchmarks.references import REFERENCES, Reference, take_over_weights
from trainables import MODELS, ImageSource, Mask, Session, load_model
from trainables.data import batches
from trainables.recorded_session import RecordedSession
from trainables.session import evaluate

IMAGES = 512
COMPARED_STEPS = 20
TOLERANCE = 1e-4  # relative, of each loss over the compared steps
TOLERANCE_MIXED = 0.02  # of the final l2_hole
RATE_SHARE, RATE_SHARE_MIXED = 0.01, 0.1
GOAL, GOAL_ELSE, GOAL_GPU = 1.3, 1.0, 3.0
WARM_STEPS = {"cpu": 2, "cuda": 8}  # on a GPU a step is captured after some that are not


@dataclass(frozen=True)
class Case:
    """What a model is measured with; what is not said is the paper's.

    Attributes:
        knobs: that differ from the paper's, so that a step takes a fraction of a second on one core.
        image_px: side of the images.
        mask: where the holes are.
        still: further knobs of the comparison of losses: they switch off what is random within a step.
        convolutional: which of the two goals counts.
    """

    knobs: dict[str, Any] = field(default_factory=dict)
    image_px: int = 32
    mask: Mask = field(default=Mask("centre", 8))
    still: dict[str, Any] = field(default_factory=dict)
    convolutional: bool = True


SURE_LABELS = {"real_label_low": 1.0, "real_label_high": 1.0, "fake_label_high": 0.0, "label_flip": 0.0}
ROWS = {"hidden": 32, "layers": 3, "output_features": 256, "batch_images": 4}
CASES = {
    "cnn_autoencoder": Case({"batch_images": 32}, still={"dropout": 0.0}),
    "dcgan": Case({"batch_images": 32}, still={"dropout": 0.0} | SURE_LABELS),
    "wgan": Case({"batch_images": 16}, still={"dropout": 0.0}),
    "pixel_cnn": Case(still={"dropout": 0.0}, convolutional=False),
    "flat_row_lstm": Case({"batch_images": 8}, convolutional=False),
    "row_lstm": Case(ROWS, convolutional=False),
    "diagonal_bilstm": Case(ROWS, convolutional=False),
    "direct_cnn": Case({"batch_images": 4}),
    "image_autoencoder": Case({"batch_images": 16}),
    "patch_autoencoder": Case({"batch_images": 16}),
    "cvae": Case(),
    "completion_gan": Case({"batch_images": 2}, still={"discriminator_dropout": 0.0}),
    "pixel_regression": Case({"stable_step": False}, convolutional=False),
    "neighbour_network": Case(convolutional=False),
    "context_encoder": Case(
        {"base_filters": 32, "discriminator_filters": 32, "latent": 1000, "batch_images": 8}, image_px=128, mask=Mask("centre", 56)
    ),
    "pconv_unet": Case(
        {"perceptual_features": "random", "base_filters": 32, "batch_images": 4}, mask=Mask("irregular", ratio_low=0.1, ratio_high=0.3)
    ),
    "lsgan": Case({"base_filters": 64, "batch_images": 8}, image_px=64, mask=Mask("centre", 24), still={"dropout": 0.0}),
    "lsgan_autoencoder": Case(
        {"base_filters": 64, "batch_images": 16, "gan_epochs": 0.0, "refine_images": 64, "search_steps": 1},
        image_px=64,
        mask=Mask("centre", 24),
        still={"dropout": 0.0},
    ),
    "pluralistic": Case({"batch_images": 4}),
    "progressive": Case({"batch_images": 4}),
    "animal_autoencoder": Case(image_px=64, mask=Mask("centre", 16)),
}
GPU_CASES = {
    "row_lstm": Case(ROWS | {"batch_images": 16}, convolutional=False),
    "diagonal_bilstm": Case(ROWS | {"batch_images": 16}, convolutional=False),
    "pixel_regression": CASES["pixel_regression"],
    "direct_cnn": Case(image_px=64, mask=Mask("centre", 24)),
    "image_autoencoder": Case(image_px=64, mask=Mask("centre", 24)),
    "patch_autoencoder": Case(image_px=64, mask=Mask("centre", 24)),
    "completion_gan": Case(image_px=64, mask=Mask("centre", 24), still={"discriminator_dropout": 0.0}),
    "context_encoder": Case(image_px=128, mask=Mask("centre", 56)),
    "pconv_unet": Case({"perceptual_features": "random"}, image_px=256, mask=Mask("irregular", ratio_low=0.1, ratio_high=0.3)),
    "lsgan": Case(image_px=64, mask=Mask("centre", 24), still={"dropout": 0.0}),
    "lsgan_autoencoder": Case(
        {"gan_epochs": 0.0, "refine_images": 64, "search_steps": 1}, image_px=64, mask=Mask("centre", 24), still={"dropout": 0.0}
    ),
    "pluralistic": Case(image_px=64, mask=Mask("centre", 24)),
    "progressive": Case(image_px=64, mask=Mask("centre", 24)),
    "animal_autoencoder": CASES["animal_autoencoder"],
}  # the others: their case with the paper's batch


@dataclass(frozen=True)
class Timing:
    """What one model took.

    Attributes:
        batch_images: images a step.
        steps: of each run.
        plain_cpu_s: CPU seconds of each run of the reference.
        fast_cpu_s: those of the product, in the same order.
        plain_wall_s: wall seconds of each run of the reference.
        fast_wall_s: those of the product.
    """

    batch_images: int
    steps: int
    plain_cpu_s: list[float]
    fast_cpu_s: list[float]
    plain_wall_s: list[float]
    fast_wall_s: list[float]

    def ratios(self, clock: str) -> list[float]:
        """Reference over product for each pair of neighbouring runs, by "cpu" or "wall" time."""
        return [slow / fast for slow, fast in zip(*self.seconds(clock), strict=True)]

    def seconds(self, clock: str) -> tuple[list[float], list[float]]:
        """Reference's and product's seconds."""
        return (self.plain_cpu_s, self.fast_cpu_s) if clock == "cpu" else (self.plain_wall_s, self.fast_wall_s)

    def rates(self, clock: str) -> tuple[float, float]:
        """Images a second of reference and product, medians."""
        images = self.batch_images * self.steps
        plain, fast = (images / statistics.median(seconds) for seconds in self.seconds(clock))
        return plain, fast


def case_of(name: str, device: str) -> Case:
    """What a model is measured with on a device."""
    case = CASES[name]
    if device == "cpu":
        return case
    return GPU_CASES.get(name, dataclasses.replace(case, knobs={key: value for key, value in case.knobs.items() if key != "batch_images"}))


def opened(name: str, arguments: argparse.Namespace, folder: str, **knobs: Any) -> Session:
    """A session of a model with its case's knobs and others."""
    case = case_of(name, arguments.device)
    precision = {"precision": arguments.precision} if arguments.precision != "float32" and name != "pixel_regression" else {}
    source = ImageSource("photos", case.image_px, train=IMAGES, validation=64, test=8, data_dir=folder)
    kind = Session if arguments.eager else RecordedSession
    return kind.open(name, case.knobs | precision | knobs, source, case.mask, device=arguments.device)


def reference_of(name: str, session: Session) -> Reference:
    """The plain model with the weights that the session's has now."""
    reference = REFERENCES[name](session.model)
    reference.to(session.device)
    take_over_weights(reference.networks, session.model.networks.values())
    for network in reference.networks:
        network.train()
    return reference


def timed(name: str, arguments: argparse.Namespace, folder: str) -> Timing:
    """Both trainings in turn."""
    session = opened(name, arguments, folder)
    batch_images, device = session.model.batch_images, session.device
    warm_steps = WARM_STEPS[device.type]
    session.step_images = warm_steps * batch_images
    session.train()  # the first call of an operation is slower than the next
    reference = reference_of(name, session)
    loader = DataLoader(reference.data(session.model, session.images.train), batch_size=batch_images, shuffle=True, drop_last=True)
    stream = endless(loader)

    def plain(steps: int) -> None:
        for image, known in itertools.islice(stream, steps):
            reference.step(image.to(device), known.to(device))

    def fast() -> None:
        session.train()

    plain(warm_steps)
    warm_s = measured(fast, device)[1] / warm_steps
    steps = max(1, round(arguments.seconds / warm_s))
    session.step_images = steps * batch_images
    runs = [(measured(lambda: plain(steps), device), measured(fast, device)) for _ in range(arguments.repetitions)]
    seconds = [[pair[side][clock] for pair in runs] for clock in (0, 1) for side in (0, 1)]
    return Timing(batch_images, steps, *seconds)


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def measured(run: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """CPU and wall seconds; the device has finished when the clock stops."""
    synchronise(device)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    run()
    synchronise(device)
    return time.process_time() - cpu_s, time.perf_counter() - wall_s


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compared(name: str, arguments: argparse.Namespace, folder: str) -> dict[str, float]:
    """How far both are apart after the same batches from the same weights.

    Returns:
        In float32 the greatest relative deviation of each loss over the steps; else that of the final "l2_hole" alone.
    """
    rates = slow_rates(name, arguments.device, RATE_SHARE if arguments.precision == "float32" else RATE_SHARE_MIXED)
    session = opened(name, arguments, folder, **case_of(name, arguments.device).still, **rates)
    model = session.model
    reference = reference_of(name, session)
    stream = batches(
        session.images.train,
        model.training_mask,
        batch_images=model.batch_images,
        start_image=0,
        count=arguments.compare_steps * model.batch_images,
        seed=0,
        device=session.device,
    )
    apart: dict[str, float] = {}
    for step, batch in enumerate(stream):
        torch.manual_seed(step)
        fast = model.train_unit([batch])
        torch.manual_seed(step)
        plain = reference.step(*reference.inputs(model, batch))
        for loss in plain:
            apart[loss] = max(apart.get(loss, 0.0), relative(fast[loss], plain[loss]))
    if arguments.precision == "float32":
        return apart
    return {"l2_hole": relative(l2_hole(session), l2_hole(with_weights(session, reference, name, arguments, folder)))}


def recorded_apart(name: str, arguments: argparse.Namespace, folder: str) -> dict[str, float]:
    """Greatest relative deviation of each training figure of recorded steps from unrecorded ones, over `COMPARED_STEPS` batches in
    float32 with cuDNN's repeatable algorithms; what is random in a step is left on."""
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    both = []
    for eager in (True, False):
        own = copy.copy(arguments)
        own.precision, own.eager = "float32", eager
        session = opened(name, own, folder, **slow_rates(name, arguments.device, RATE_SHARE))
        session.step_images = session.model.batch_images
        both.append([session.train() for _ in range(COMPARED_STEPS)])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = False, True
    figures = [key for key in both[0][0] if key not in ("collapsed", "reused")]
    return {key: max(relative(slow.get(key, 0.0), fast.get(key, 0.0)) for slow, fast in zip(*both, strict=True)) for key in figures}


def slow_rates(name: str, device: str, share: float) -> dict[str, float]:
    """All learning rates of a model, lowered to a share; they stay there, since the reference's do."""
    config = load_model(name).Config(**case_of(name, device).knobs)
    names = [entry.name for entry in dataclasses.fields(config)]
    lowered = {name: getattr(config, name) * share for name in names if name.endswith("learning_rate")}
    return lowered | ({"decay_factor": 1.0} if "decay_factor" in names else {})


def with_weights(session: Session, reference: Reference, name: str, arguments: argparse.Namespace, folder: str) -> Session:
    """A session in float32 whose model has the weights of the reference."""
    whole = copy.copy(arguments)
    whole.precision, whole.eager = "float32", True
    plain = opened(name, whole, folder, **case_of(name, arguments.device).still)
    plain.model.load_state_dict(session.model.state_dict())  # whatever is no weight
    take_over_weights(plain.model.networks.values(), reference.networks)
    return plain


def l2_hole(session: Session) -> float:
    return evaluate(session.model.fill, session.images.validation, session.model.mask, session.device, only="l2_hole")["l2_hole"]


def relative(one: float, other: float) -> float:
    return abs(one - other) / max(abs(one), abs(other), 1e-12)


def goal_of(name: str, device: str) -> float:
    if device == "cuda":
        return GOAL_GPU if CASES[name].convolutional else GOAL_ELSE
    return GOAL if CASES[name].convolutional else GOAL_ELSE


def hardware(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the figures belong to."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if arguments.device == "cuda" else "",
        "torch": torch.__version__,
    }


def write(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    """Writes what is measured so far; a run that is cut off keeps its figures."""
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    facts = {"hardware": hardware(arguments), "precision": arguments.precision, "eager": arguments.eager}
    arguments.json.write_text(json.dumps(facts | {"models": results}, indent=2))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES), metavar="MODEL", help="default: all")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run (default 1)")
    parser.add_argument("--repetitions", type=int, default=5, help="pairs of runs a model (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default 1)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the product")
    parser.add_argument("--eager", action="store_true", help="the product's steps are not recorded, on a GPU")
    parser.add_argument("--check-recorded", action="store_true", help="recorded steps against the product's own, and nothing else")
    parser.add_argument("--data-dir", default="", help="keep the images there; default: a folder that is removed")
    parser.add_argument("--compare-steps", type=int, default=COMPARED_STEPS, help="batches that both see first; 0 = no comparison")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/throughput.json"), help="where the figures go")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    clock = "wall" if arguments.device == "cuda" else "cpu"
    table = Table(title=f"images a second by {clock} time, medians of {arguments.repetitions} interleaved pairs")
    for heading in ("model", "batch", "plain", "product", "ratio", "least to greatest", "by wall", "goal", "losses apart"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = arguments.data_dir or folder
        for name in arguments.models if arguments.check_recorded else ():
            deviations = {key: f"{value:.1e}" for key, value in recorded_apart(name, arguments, folder).items()}
            print(name, "recorded against unrecorded:", deviations, flush=True)
        for name in () if arguments.check_recorded else arguments.models:
            apart = compared(name, arguments, folder) if arguments.compare_steps else {}
            timing = timed(name, arguments, folder)
            ratios, goal = timing.ratios(clock), goal_of(name, arguments.device)
            ratio, wall = statistics.median(ratios), statistics.median(timing.ratios("wall"))
            plain, fast = timing.rates(clock)
            mark = "reached" if ratio >= goal else "missed"
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            allowed = TOLERANCE if arguments.precision == "float32" else TOLERANCE_MIXED
            worst = f"{max(apart.values()):.1e}{'' if max(apart.values()) <= allowed else ' too far'}" if apart else ""
            row = (f"{plain:.1f}", f"{fast:.1f}", f"{ratio:.2f}", spread, f"{wall:.2f}", f"{goal:g} {mark}", worst)
            table.add_row(name, str(timing.batch_images), *row)
            print(name, *row, flush=True)
            knobs = case_of(name, arguments.device).knobs
            results[name] = asdict(timing) | {"ratio": ratio, "ratio_wall": wall, "goal": goal, "apart": apart, "knobs": knobs}
            write(arguments, results)
    Console(width=140).print(table)
    print(f"the others: {', '.join(sorted(set(MODELS) - set(CASES)))} (nothing is trained)")


if __name__ == "__main__":
    main()
