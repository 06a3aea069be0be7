"""The review page: who is let in, what is given, what is saved; and in a browser, key by key."""

from __future__ import annotations

import json
import threading
import time

import httpx
import pytest

from edgekit.core.errors import UserError
from edgekit.core.files import read_jsonl, sha256_file
from edgekit.core.port import take_port
from edgekit.review.human import Answers
from edgekit.review.queue import Review
from edgekit.review.server import BODY_BYTES, make_app, need_token, server_of
from tests.e2e.chromium import Chromium
from tests.unit.review.conftest import write_dataset

LIGHT = {"light": "red", "light_arrow": "any", "light_kind": "intersection", "other_left": "none",
         "other_straight": "none", "other_right": "none"}  # fmt: skip


class Served:
    """The review's server in a thread, on a free port of loopback."""

    def __init__(self, folder, token=None, host="127.0.0.1"):
        self.review = Review(str(folder))
        need_token(host, token)
        self.door = take_port(host, 0, "edgekit review", "--port")
        self.server = server_of(make_app(self.review, "tester", token))
        self.thread = threading.Thread(target=lambda: self.server.run(sockets=[self.door]), daemon=True)
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"

    def __enter__(self):
        self.thread.start()
        end = time.monotonic() + 30
        while not self.server.started and time.monotonic() < end:
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(30)
        self.door.close()

    def lines(self):
        return list(read_jsonl(self.review.answers.path)) if self.review.answers.path.is_file() else []


@pytest.fixture
def served(dataset):
    with Served(dataset) as server:
        yield server


def post(served, path, body, **headers):
    return httpx.post(served.url + path, json=body, headers=headers)


def test_the_page_needs_nothing_from_elsewhere(served):
    page = httpx.get(served.url + "/")
    assert page.status_code == 200 and "{{" not in page.text
    assert "http://" not in page.text and "https://" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "'nonce-" in policy
    assert "'nonce-" not in httpx.get(served.url + "/queue.json").headers["content-security-policy"]


def test_a_question_and_its_strip(served):
    queue = httpx.get(served.url + "/queue.json").json()
    assert (queue["total"], queue["done"], queue["answered"]) == (3, 0, [False] * 3)
    assert queue["tasks"]["crossroad"] == {
        "crossroad": ["no", "yes", "unknown"],
        "zebra": ["no", "yes", "unknown"],
    }
    entry = httpx.get(served.url + "/entry/0.json").json()
    assert (entry["id"], entry["task"], entry["why"]) == ("d/000005", "light", "light is doubted")
    assert [step["step"] for step in entry["histories"]["light"]] == [
        "vlm",
        "smoothed",
        "motion",
        "expert",
        "fused",
    ]
    assert entry["slots"] == LIGHT and entry["answered"] is None
    times = [frame["t_s"] for frame in entry["strip"]]
    assert times == sorted(times) and len(times) == 9 and 1.0 in times
    for number in (-1, 3, 10**9):
        assert httpx.get(served.url + f"/entry/{number}.json").status_code == 404


def test_images_are_given_by_row_and_never_by_path(served, dataset):
    (dataset / "secret.jpg").write_bytes((dataset / "images/d/000000.jpg").read_bytes())
    whole = httpx.get(served.url + "/image", params={"id": "d/000005"})
    assert whole.content == (dataset / "images/d/000005.jpg").read_bytes()
    assert whole.headers["content-type"] == "image/jpeg"
    small = httpx.get(served.url + "/image", params={"id": "d/000005", "small": 1})
    assert small.content[:2] == b"\xff\xd8" and len(small.content) < len(whole.content)
    for name in ("images/d/000005.jpg", "secret.jpg", "../mined/secret.jpg", "/etc/passwd", ""):
        assert httpx.get(served.url + "/image", params={"id": name}).status_code == 404
    for path in ("/images/d/000005.jpg", "/secret.jpg", "/..%2f..%2fetc/passwd", "/docs", "/openapi.json"):
        assert httpx.get(served.url + path).status_code == 404


def test_a_row_whose_image_leads_out_shows_none(dataset):
    with Served(dataset) as served:
        served.review.rows["d/000005"].images[0] = "../elsewhere.jpg"
        for small in (0, 1):
            answer = httpx.get(served.url + "/image", params={"id": "d/000005", "small": small})
            assert answer.status_code == 404 and "elsewhere" not in answer.text


def test_an_answer_names_its_picture_and_none_is_taken_without(served, dataset):
    body = {"id": "d/000005", "task": "light", "slots": LIGHT}
    assert post(served, "/answer", body).status_code == 200
    (line,) = served.lines()
    assert line["image"] == sha256_file(dataset / "images/d/000005.jpg")
    assert line["dataset"] == served.review.digest
    (dataset / "images/d/000006.jpg").unlink()
    slots = {"recommended_speed_kmh": "5"}
    refused = post(served, "/answer", {"id": "d/000006", "task": "speed", "slots": slots})
    assert refused.status_code == 422 and "image" in refused.json()["error"]
    assert len(served.lines()) == 1


def test_an_answer_is_on_the_disk_at_once_and_undo_is_a_line(served, dataset):
    green = LIGHT | {"light": "green"}
    assert post(served, "/answer", {"id": "d/000005", "task": "light", "slots": green}).json()["done"] == 1
    (line,) = served.lines()
    assert (line["id"], line["task"], line["slots"], line["by"]) == ("d/000005", "light", green, "tester")
    assert httpx.get(served.url + "/entry/0.json").json()["slots"] == green
    undone = post(served, "/undo", {}).json()
    assert (undone["undone"], undone["done"]) == (0, 0)
    assert [line["slots"] for line in served.lines()] == [green, None]
    assert post(served, "/undo", {}).json()["undone"] is None and len(served.lines()) == 2
    assert served.review.answers.path == dataset.with_name("mined-review") / "human.jsonl"


def test_what_no_label_can_say_is_refused_in_words(served):
    for change, why in (
        ({"light": "purple"}, "not one of"),
        ({"light": "none"}, "light_arrow=none"),
        ({"extra": "x"}, "wants the slots"),
        ({"light": 3}, "not one of"),
    ):
        answer = post(served, "/answer", {"id": "d/000005", "task": "light", "slots": LIGHT | change})
        assert answer.status_code == 422 and why in answer.json()["error"]
    for body in (
        {"id": "d/000005"}, {"id": "no", "task": "light", "slots": LIGHT}, {"id": 5, "task": "x", "slots": {}},
        {"id": "d/000005", "task": "light", "slots": None}, {"id": "d/000005", "task": [], "slots": {}}, [], "text",
    ):  # fmt: skip
        assert post(served, "/answer", body).status_code == 422
    assert served.lines() == []


def test_a_page_of_another_origin_cannot_answer(served):
    body = {"id": "d/000005", "task": "light", "slots": LIGHT}
    host = served.url.removeprefix("http://")
    for headers, status in (
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"http://{host}.evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}, 200),
    ):
        for path in ("/answer", "/undo"):
            answer = httpx.post(served.url + path, content=json.dumps(body if path == "/answer" else {}),
                                headers={"Content-Type": "application/json"} | headers)  # fmt: skip
            assert answer.status_code == status, (headers, path)
    assert len(served.lines()) == 2  # the last pair


def test_a_foreign_host_header_sees_nothing(served):
    for path in ("/", "/queue.json", "/image?id=d/000005"):
        assert httpx.get(served.url + path, headers={"Host": "evil.example"}).status_code == 403
    assert httpx.get(served.url + "/queue.json", headers={"Host": "localhost:1"}).status_code == 200


def test_a_body_that_is_too_large_is_not_kept(served):
    big = {"id": "d/000005", "task": "light", "slots": LIGHT, "more": "x" * (BODY_BYTES + 1)}
    assert post(served, "/answer", big).status_code == 413
    assert httpx.post(served.url + "/answer", content=b"[" * 9000,
                      headers={"Content-Type": "application/json"}).status_code == 422  # fmt: skip
    assert served.lines() == []


def test_beyond_loopback_a_token_is_asked_for(dataset):
    with pytest.raises(UserError, match="no token"):
        need_token("0.0.0.0", None)
    with Served(dataset, token="s3cret", host="0.0.0.0") as served:
        for path in ("/queue.json", "/entry/0.json", "/image?id=d/000005"):
            assert httpx.get(served.url + path).status_code == 401
            assert httpx.get(served.url + path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            assert httpx.get(served.url + path, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert httpx.get(served.url + "/").status_code == 200  # holds no data, and asks for the token itself
        assert post(served, "/undo", {}).status_code == 401


def test_a_port_that_is_taken_is_told():
    door = take_port("127.0.0.1", 0, "edgekit review", "--port")
    door.listen()
    with door, pytest.raises(UserError, match="cannot listen"):
        take_port("127.0.0.1", door.getsockname()[1], "edgekit review", "--port")


# --- in a browser -----------------------------------------------------------------------------------

TYPE = """for (const key of arguments[0] || %s)
  dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}))"""


def press(browser, *keys):
    browser.ask(TYPE % json.dumps(keys))


def shown(browser, what, seconds=20):
    browser.until("return document.getElementById('where').textContent", lambda text: what in text, seconds)


@pytest.mark.browser
def test_keys_in_a_browser_become_lines_on_the_disk(dataset, tmp_path):
    with Served(dataset) as served, Chromium(size=(1280, 720)) as browser:
        browser.open(served.url)
        shown(browser, "1/3 · d/000005")
        big = "const i = document.getElementById('big'); return i.complete ? i.naturalWidth : 0"
        assert browser.until(big, lambda width: width > 0) == 224
        loaded = "return [...document.querySelectorAll('#strip img')].filter(i => i.naturalWidth).length"
        browser.until(loaded, lambda count: count == 9)
        fits = "const d = document.scrollingElement; return [d.scrollHeight - innerHeight, d.scrollWidth - innerWidth]"
        assert browser.ask(fits) == [0, 0]
        aside = "const a = document.querySelector('aside'); return a.scrollHeight <= a.clientHeight"
        assert browser.ask(aside)
        browser.screenshot(tmp_path / "review.png")

        press(browser, "4")  # green, and Enter: on the disk, and the next question
        assert browser.ask("return document.getElementById('answer').cells[1].textContent") == "green"
        assert served.lines() == []
        press(browser, "Enter")
        shown(browser, "2/3 · d/000006")
        assert [(x["id"], x["task"], x["slots"]["light"]) for x in served.lines()] == [
            ("d/000005", "light", "green")
        ]

        press(browser, "1", "5", "Enter")  # the speed is typed
        shown(browser, "3/3 · d/000007")
        assert served.lines()[1]["slots"] == {"recommended_speed_kmh": "15"}
        press(browser, "u")  # back at the speed, unanswered again
        shown(browser, "2/3 · d/000006")
        assert served.lines()[2]["slots"] is None
        press(browser, "-", "Enter")
        shown(browser, "3/3 · d/000007")
        assert served.lines()[3]["slots"] == {"recommended_speed_kmh": "unknown"}

        press(browser, "k")
        shown(browser, "2/3")
        press(browser, "j")
        shown(browser, "3/3")
        press(browser, "ArrowDown", "2", "Enter")  # crossroad as it is, the zebra: yes
        browser.until("return document.getElementById('count').textContent", lambda t: t == "3 of 3 answered")
        assert served.lines()[4]["slots"] == {"crossroad": "yes", "zebra": "yes"}
        assert browser.ask("return document.getElementById('told').className") == ""
        asked = browser.ask("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert asked and all(name.startswith((served.url, f"blob:{served.url}", "data:")) for name in asked)
    assert [c.slots for c in Answers(served.review.answers.path).given()] == [
        LIGHT | {"light": "green"}, {"recommended_speed_kmh": "unknown"}, {"crossroad": "yes", "zebra": "yes"},
    ]  # fmt: skip


@pytest.mark.browser
def test_in_a_browser_a_token_opens_the_page_and_leaves_the_address(tmp_path):
    with Served(write_dataset(tmp_path / "other"), token="s3cret") as served, Chromium() as browser:
        browser.open(served.url)
        browser.until(
            "return document.getElementById('told').textContent", lambda text: "EDGEKIT_TOKEN" in text
        )
        browser.open(served.url + "/?token=s3cret")
        shown(browser, "1/3")
        assert browser.ask("return location.search") == ""
        browser.until("return document.getElementById('big').naturalWidth || 0", lambda width: width == 224)
        press(browser, "Enter")
        shown(browser, "2/3")
        assert served.lines()[0]["slots"] == LIGHT
