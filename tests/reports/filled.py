"""A store on which every kind of page has something to show."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reports.build import build
from sweeper.home import Home
from tests.reports.conftest import Filler, copied

CARS = {"train": 4512, "validation": 488, "test": 1000}
PSNR = {"thesis_image_autoencoder": ("image_autoencoder", (17.0, 17.1, 17.05)), "thesis_direct_cnn": ("direct_cnn", (16.8, 16.9, 16.85))}


def ranked_store(home: Path) -> None:
    """Two autoencoders under three seeds each and a classical fill on the thesis's task; a bottleneck curve; a picture."""
    filler = Filler(home)
    task = {"sweep.data": "cifar10_cars", "sweep.mask": "random_square 12 px"}
    for name, (model, values) in PSNR.items():
        baseline = {"ring_mean_test_psnr_hole": 13.9}
        parent = filler.sweep(name, spec=name, model=model, counts=CARS, baseline=baseline, tags=task)
        for seed, value in enumerate(values, start=1):
            metrics = {"test_psnr_hole": value, "test_ssim_hole": 0.6, "test_sharpness_hole": 0.25}
            filler.trial(name, parent, f"final-{seed - 1}", metrics, seed=seed)
    parent = filler.sweep("thesis_classical", spec="thesis_classical", model="classical_fill", counts=CARS, tags=task)
    filler.trial("thesis_classical", parent, "final-0000-0", {"test_psnr_hole": 16.2}, knobs={"method": "biharmonic"}, seed=1)
    parent = filler.sweep("curve", baseline={"ring_mean_validation_l2_hole": 6.3})
    for place, (bottleneck, value) in enumerate({256: 3.0, 512: 2.8, 1024: 2.9, 2048: 2.7}.items()):
        metrics = {"best_l2_hole": value, "best_train_l2_hole": value - 0.2}
        filler.trial("curve", parent, f"search-{place:04d}", metrics, knobs={"bottleneck": bottleneck})
    filler.picture(parent, (200, 100, 50))
    filler.done()


def ranked_report(empty_home: Path, home: Path, only: Sequence[str], formats: Sequence[str]) -> Path:
    """The folder of a report on `ranked_store`, filled into a copy of a home that has a store without sweeps."""
    ranked_store(copied(empty_home, home))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_DATA_DIR", str(home / "no-data"))
        return build(Home(home), only=only, formats=formats).folder
