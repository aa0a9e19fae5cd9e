"""What text may travel."""

import pytest
import yaml

from sweeper.scrub import Scrubber
from sweeper.spec import Spec


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("cannot open /home/bob/data/a.npz: gone", "cannot open .../a.npz: gone"),
        ("folder:/home/bob/pictures", "folder:.../pictures"),
        ("folder:~bob/pictures", "folder:.../pictures"),
        ("at '/srv/my files/x.png'", "at '.../x.png'"),
        ("sqlite:////home/bob/mlflow.db, s3://bucket/key?secret=1", "sqlite://..., s3://..."),
        ("postgresql://bob:word@host/optuna", "postgresql://..."),
        ("in /srv/my files", "in ..."),
        ("centre 8 px, 1/8 of it, a/b/c, 45000 / 5000", "centre 8 px, 1/8 of it, a/b/c, 45000 / 5000"),
        ('{"train": 1e-3, "kind": "x"}', '{"train": 1e-3, "kind": "x"}'),
    ],
)
def test_folders_and_addresses_go_and_the_rest_stays(text: str, clean: str) -> None:
    assert Scrubber(["/srv/my files"]).text(text) == clean


def test_only_public_tags_stay() -> None:
    tags = {"sweep.name": "a", "git.commit": "f00", "mlflow.user": "bob", "mlflow.source.name": "/home/bob/x.py", "mlflow.runName": "a"}
    tags |= {"sweep.driver": "d", "sweep.live": "{}", "mlflow.parentRunId": "0" * 32, "note": "mine"}
    kept = Scrubber([]).tags(tags)
    assert kept == {"sweep.name": "a", "git.commit": "f00", "mlflow.runName": "a", "mlflow.parentRunId": "0" * 32}


def test_a_spec_stays_a_spec_and_says_nothing_of_folders_hooks_and_logins() -> None:
    spec = Spec(
        name="mine",
        model="cnn_autoencoder",
        data={"name": "folder:/home/bob/cats", "data_dir": "/home/bob/data"},
        budget={"trials": 1, "epochs": 1},
        study="postgresql://bob:word@host/optuna",
        notify={"webhook": "https://example.org/bob", "command": "say bob"},
        checkpoints={"storage": "s3://bob/sweeps?access_key=k"},
    )
    text = Scrubber([]).spec(spec.to_yaml(), "theirs")
    assert "bob" not in text
    assert "example" not in text
    fields = yaml.safe_load(text)
    assert Spec(**fields).name == "theirs"
    assert Spec(**fields).data.name == "folder:.../cats"
