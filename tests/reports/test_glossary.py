from reports.glossary import glossary, split_metrics, training_metrics
from trainables.metrics import METRICS


def test_every_metric_that_models_report_is_explained_with_its_unit_and_direction() -> None:
    here = {name: (term.unit, term.mode) for name, term in split_metrics().items()}
    there = {name: (metric.unit, metric.mode) for name, metric in METRICS.items()}
    assert here == there


def test_training_metrics_are_named_apart() -> None:
    assert set(training_metrics()) == {"train_l2_hole", "collapsed"}
    assert set(glossary()) == set(METRICS) | {"train_l2_hole", "collapsed"}
    assert all(term.meaning and term.better for term in glossary().values())
