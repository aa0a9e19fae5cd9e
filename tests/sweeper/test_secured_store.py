"""A store behind TLS and a login: MLflow's own server and MLflow's own variables, with a real sweep through them."""

import datetime
import ipaddress
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from toy_rooms import toy_rooms

from sweeper.errors import TrackingError
from sweeper.home import Home
from sweeper.runner import run
from sweeper.tracking import Store
from sweeper.validation import validate
from tests.sweeper.conftest import SilentProgress
from tests.sweeper.drivers import wait_for
from tests.sweeper.fault_machines import SERVER, free_port, marked

USER, PASSWORD = "admin", "a-password-b93c1e"
SETTINGS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/auth.db
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass(frozen=True)
class Secured:
    """The server's address, and the certificate that it shows."""

    uri: str
    certificate: Path


def write_certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1, signed by itself, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    day, now = datetime.timedelta(days=1), datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (folder / "server.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return folder / "server.pem"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, driver_environment: dict[str, str]) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    certificate, port = write_certificate(folder), free_port()
    (folder / "auth.ini").write_text(SETTINGS.format(folder=folder, user=USER, password=PASSWORD))
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--artifacts-destination", str(folder / "kept")]
    command += ["--uvicorn-opts", f"--ssl-keyfile={folder / 'key.pem'} --ssl-certfile={certificate}"]
    own = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "of-this-test", "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini")}
    server = marked(command, folder, folder / "server.txt", driver_environment | SERVER | own)
    uri = f"https://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{uri}/health", verify=str(certificate), timeout=5).ok
        except requests.RequestException:
            return False

    try:
        assert wait_for(answers), server.text
        yield Secured(uri, certificate)
    finally:
        server.end()


@pytest.fixture
def known(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> Secured:
    """The server, to which MLflow's variables introduce the user."""
    for name, value in (("USERNAME", USER), ("PASSWORD", PASSWORD), ("SERVER_CERT_PATH", str(secured.certificate))):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    return secured


@pytest.mark.usefixtures("local_ray")
def test_a_sweep_is_kept_behind_tls_and_a_login(known: Secured, tmp_path: Path) -> None:
    fields = {"name": "guarded", "model": "toy", "data": {"name": "photos"}, "knobs": {"rate": {"low": 0.1, "high": 0.9}}}
    fields |= {"search": {"algorithm": "random"}, "budget": {"trials": 3, "epochs": 2}, "seeds": 0, "pictures": 0}
    rooms = toy_rooms()
    outcome = run(validate(fields, rooms), rooms, Home(tmp_path, known.uri), SilentProgress(), spec_name="guarded", fresh=True)
    assert outcome.unsent == ""
    rows = Store(known.uri, create=False).trials("guarded")
    assert sorted(rows["trial"]) == ["search-0000", "search-0001", "search-0002"]
    assert set(rows["status"]) == {"FINISHED"}
    assert PASSWORD not in (tmp_path / "sweeps" / "guarded" / "journal.jsonl").read_text()


def test_a_wrong_password_is_told_with_what_to_set(known: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another one")
    with pytest.raises(TrackingError, match="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        Store(known.uri)


def test_an_unknown_certificate_is_told_with_what_to_set(known: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
    with pytest.raises(TrackingError, match="with MLFLOW_TRACKING_SERVER_CERT_PATH"):
        Store(known.uri)
