from reports.glossary import binned_metrics, glossary, model_metrics, split_metrics, training_metrics
from trainables.hole_bins import BINNED
from trainables.metrics import METRICS
from trainables.registry import MODELS, load_model


def test_every_metric_that_models_report_is_explained_with_its_unit_and_direction() -> None:
    here = {name: (term.unit, term.mode) for name, term in split_metrics().items()}
    there = {name: (metric.unit, metric.mode) for name, metric in METRICS.items()}
    assert here == there


def test_metrics_by_hole_size_are_those_that_an_evaluation_gives() -> None:
    here = {name: (term.unit, term.mode) for name, term in binned_metrics().items()}
    assert here == {name: (metric.unit, metric.mode) for name, metric in BINNED.items()}
    assert binned_metrics()["psnr_hole_bin_01_10"].meaning.startswith("psnr_hole over the images whose irregular hole takes more than 1 %")


def test_metrics_of_single_models_are_those_that_they_report() -> None:
    reported: dict[str, set[tuple[str, str]]] = {}
    for model in MODELS:
        for name, metric in load_model(model).extra_metrics.items():
            reported.setdefault(name, set()).add((metric.unit, metric.mode))
    for name, term in model_metrics().items():
        assert reported[name] == {(term.unit, term.mode)}, name


def test_training_metrics_are_named_apart() -> None:
    assert set(training_metrics()) == {"loss", "wall_s", "images_seen", "train_l2_hole", "collapsed"}
    assert set(glossary()) == set(METRICS) | set(BINNED) | set(model_metrics()) | set(training_metrics())
    assert all(term.meaning and term.better for term in glossary().values())
