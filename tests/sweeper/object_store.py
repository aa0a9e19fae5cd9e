"""A server that speaks Amazon's S3, on this machine, that can be stopped and started again with what it holds."""

import logging
import os
import socket
from itertools import count
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

KEY, SECRET = "AKIDEXAMPLE", "do-not-log-s3-77c1"
BUCKET = "checkpoints-of-tests"


class ObjectStore:
    """moto's server on a free port of the loopback."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.port = _free_port()
        self._server: ThreadedMotoServer | None = None
        self.start()
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def address(self, prefix: str, *, login: bool = True, bucket: str = BUCKET) -> str:
        """As a spec names it; without a login the keys come from the environment."""
        keys = f"{KEY}:{SECRET}@" if login else ""
        return f"s3://{keys}{bucket}/{prefix}?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    def objects(self, prefix: str) -> dict[str, int]:
        """Bytes of every object below a prefix, folders' markers left out; by another client than the engine's."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        found = [entry for page in pages for entry in page.get("Contents", [])]
        return {entry["Key"].removeprefix(f"{prefix}/"): entry["Size"] for entry in found if not entry["Key"].endswith("/")}

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)


def _free_port() -> int:
    """A port that the kernel gives to no connection while the server is stopped: below those that it draws from."""
    for port in count(20_000 + os.getpid() % 5_000):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("count() has no end")
