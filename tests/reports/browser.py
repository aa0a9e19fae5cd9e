"""A real headless browser, spoken to in its own protocol: no driver and no package beside the browser is needed."""

import asyncio
import base64
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
START = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0")
ANSWERS_S = 240


def installed() -> str | None:
    """The browser's command; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def running(command: str) -> Iterator[str]:
    """A browser with an empty profile; gives its address, and ends it by its process id."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        arguments = [command, *START, f"--user-data-dir={profile}", "about:blank"]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                said = []
                for line in process.stderr:
                    said.append(line)
                    if line.startswith("DevTools listening on "):
                        yield line.removeprefix("DevTools listening on ").strip()
                        return
                raise AssertionError(f"{command} did not start: {''.join(said)[-2000:]}")
            finally:
                process.kill()


def look(address: str, page: Path, width: int, scripts: list[str], *, picture: Path | None = None) -> tuple[list[Any], list[str]]:
    """Opens a page and asks it.

    Args:
        address: of the browser.
        page: the file to open.
        width: of the window in pixels; below 600 it is a phone.
        scripts: expressions, evaluated one after the other once the page and its pictures are there.
        picture: where to save what the window shows.

    Returns:
        The expressions' values, and what the page had to complain of.
    """
    return asyncio.run(asyncio.wait_for(_look(address, page, width, scripts, picture), ANSWERS_S))


async def _look(address: str, page: Path, width: int, scripts: list[str], picture: Path | None) -> tuple[list[Any], list[str]]:
    complaints: list[str] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
        talk = _Talk(socket, complaints)
        target = (await talk.ask("Target.createTarget", url="about:blank"))["targetId"]
        talk.session = (await talk.ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await talk.ask(f"{domain}.enable")
        phone = width < 600
        await talk.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=2 if phone else 1, mobile=phone)
        await talk.ask("Page.navigate", url=page.as_uri())
        await talk.until("Page.loadEventFired")
        values = [await talk.evaluate(script) for script in scripts]
        if picture is not None:
            shot = await talk.ask("Page.captureScreenshot", format="png")
            picture.write_bytes(base64.b64decode(shot["data"]))
        await talk.ask("Target.closeTarget", targetId=target)
    return values, complaints


class _Talk:
    """Questions and answers over one socket; what the page reports meanwhile is kept."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, complaints: list[str]) -> None:
        self.session = ""
        self._socket, self._complaints, self._asked, self._seen = socket, complaints, 0, set[str]()

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer."""
        self._asked += 1
        mine = self._asked
        message = {"id": mine, "method": method, "params": parameters} | ({"sessionId": self.session} if self.session else {})
        await self._socket.send_json(message)
        while True:
            told = await self._hear()
            if told.get("id") == mine:
                assert "error" not in told, f"{method}: {told['error']}"
                result: dict[str, Any] = told["result"]
                return result

    async def until(self, event: str) -> None:
        """Waits for an event, which may have come already."""
        while event not in self._seen:
            await self._hear()

    async def evaluate(self, script: str) -> Any:
        """An expression's value in the page; a promise is waited for."""
        answer = await self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{script}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    async def _hear(self) -> dict[str, Any]:
        told: dict[str, Any] = await self._socket.receive_json()
        event, about = told.get("method", ""), told.get("params", {})
        self._seen.add(event)
        if event == "Runtime.exceptionThrown":
            self._complaints.append(str(about["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self._complaints.append(str(about["args"]))
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self._complaints.append(about["entry"]["text"])
        elif event == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("file:", "data:")):
            self._complaints.append(f"asks the network for {about['request']['url']}")
        return told
