"""How a provider is reached: proxies and certificates of the environment, and what is sent with every request."""

from __future__ import annotations

import base64
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from dprm_data.providers.request import Answer
from tests.hostile.test_servers import reply, server
from tests.providers.helpers import BOTH, ENVIRON, KEY, ask, failed, request

SAID = orjson.dumps(
    {
        "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}],
        "content": [{"type": "text", "text": "yes"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "input_tokens": 3, "output_tokens": 1},
    }
)
ELSEWHERE = "http://model.invalid:8000"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        reply(SAID)(self)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_asked(name: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(reply(SAID)) as (url, seen):
        monkeypatch.setenv(variable, url.replace("http://", "http://me:secret@"))
        [answer] = ask(name, ELSEWHERE, request())
    assert isinstance(answer, Answer) and answer.text == "yes"
    path, headers, _ = seen[0]
    assert path.startswith(f"{ELSEWHERE}/v1/")
    assert headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()


@pytest.mark.parametrize(
    ("exempt", "address"),
    [
        ("model.invalid", ELSEWHERE),
        ("other.invalid, invalid", ELSEWHERE),
        (".invalid", ELSEWHERE),
        ("*", ELSEWHERE),
        ("model.invalid:8000", ELSEWHERE),
        ("127.0.0.0/8", "http://127.0.0.2:9"),
    ],
)
def test_no_proxy_for_what_the_environment_exempts(exempt: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(reply(SAID)) as (url, seen):
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("NO_PROXY", exempt)
        assert failed("openai", address, request()).kind == "connection"
    assert seen == []


@pytest.mark.parametrize("exempt", ["del.invalid", "model.invalid:80", "10.0.0.0/8", "odel.invalid"])
def test_a_proxy_for_what_only_looks_exempt(exempt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(reply(SAID)) as (url, _):
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("NO_PROXY", exempt)
        assert isinstance(ask("openai", ELSEWHERE, request())[0], Answer)


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    failure = failed("openai", ELSEWHERE, request())
    assert (failure.kind, failure.sent) == ("connection", False)


def test_the_organisation_and_the_project_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    with server(reply(SAID)) as (url, seen):
        ask("openai", url, request(), environ=ENVIRON)
    _, headers, _ = seen[0]
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", BOTH)
def test_a_certificate_of_the_environment_is_trusted_and_no_other(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=model"]
    names = ["-addext", "subjectAltName=IP:127.0.0.2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*new, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    try:  # 127.0.0.1 is exempt from what the environment says
        http = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
    except OSError:
        pytest.skip("this machine has one loopback address")
    http.socket = context.wrap_socket(http.socket, server_side=True)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    address = f"https://127.0.0.2:{http.server_address[1]}"
    try:
        failure = failed(name, address, request())
        assert failure.kind == "connection" and "certificate" in failure.message.lower()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        [answer] = ask(name, address, request())
        assert isinstance(answer, Answer), answer
    finally:
        http.shutdown()
        http.server_close()
