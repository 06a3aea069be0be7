"""The page's door: who is let in, what is given, and that it stays small."""

import socket

import httpx
import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import UserError
from edgekit.demo.advice import Shown, advise
from edgekit.demo.page import PageServer, check_host
from edgekit.demo.view import View
from tests.unit.demo.fakes import RED


@pytest.fixture
def view():
    view = View()
    view.show(Image.fromarray(np.zeros((8, 8, 3), np.uint8)), Shown("fresh", advise(RED), RED, 9, 8), frame=3)
    return view


@pytest.fixture
def page(view, monkeypatch):
    monkeypatch.delenv("EDGEKIT_TOKEN", raising=False)
    server = PageServer(view, "127.0.0.1", 0)
    yield server
    server.close()


def test_three_paths_and_no_more(page):
    html = httpx.get(page.url)
    assert html.status_code == 200 and "{{" not in html.text
    assert "http://" not in html.text and "https://" not in html.text  # nothing from elsewhere
    assert "default-src 'none'" in html.headers["content-security-policy"]
    state = httpx.get(page.url + "state.json").json()
    assert (state["frame"], state["state"], state["text"].split(":")[0]) == (3, "fresh", "Red light")
    assert httpx.get(page.url + "frame.jpg").content[:2] == b"\xff\xd8"
    assert httpx.get(page.url + "../../etc/passwd").status_code == 404
    assert httpx.get(page.url + "annotated.mp4").status_code == 404
    assert httpx.post(page.url).status_code == 501


def test_a_foreign_host_header_is_refused(page):
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        assert httpx.get(page.url, headers={"Host": host}).status_code == 403
    assert httpx.get(page.url, headers={"Host": "localhost:1"}).status_code == 200


def test_no_frame_yet_is_404(monkeypatch):
    monkeypatch.delenv("EDGEKIT_TOKEN", raising=False)
    server = PageServer(View(), "127.0.0.1", 0)
    try:
        assert httpx.get(server.url + "frame.jpg").status_code == 404
        assert httpx.get(server.url + "state.json").json() == {"frame": None}
    finally:
        server.close()


def test_off_loopback_it_needs_a_token(monkeypatch, view):
    monkeypatch.delenv("EDGEKIT_TOKEN", raising=False)
    with pytest.raises(UserError, match="open to the network"):
        check_host("0.0.0.0")
    monkeypatch.setenv("EDGEKIT_TOKEN", "sesame")
    server = PageServer(view, "0.0.0.0", 0)
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    try:
        assert httpx.get(url).status_code == 401
        assert httpx.get(url + "state.json?token=wrong").status_code == 401
        assert httpx.get(url + "?token=sesame").status_code == 200
        assert httpx.get(url + "state.json", headers={"Authorization": "Bearer sesame"}).status_code == 200
    finally:
        server.close()


def test_connections_are_bounded_and_come_free_again(page):
    port = int(page.url.rsplit(":", 1)[1].strip("/"))
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(16)]
    try:
        with pytest.raises(httpx.TransportError):
            for _ in range(16):  # the listening queue may hold one back for a moment
                httpx.get(page.url, timeout=1)
    finally:
        for connection in idle:
            connection.close()
    for _ in range(50):
        try:
            assert httpx.get(page.url, timeout=5).status_code == 200
            break
        except httpx.TransportError:
            continue
    else:
        pytest.fail("the page did not come back")


def test_a_taken_port_is_told_in_words(page, view):
    port = int(page.url.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(UserError, match="cannot listen"):
        PageServer(view, "127.0.0.1", port)
