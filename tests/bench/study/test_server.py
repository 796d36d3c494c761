"""The page by plain HTTP: a whole study, and everything that a request must not be able to do."""

import http.client
import io
import re
import threading
from contextlib import contextmanager
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from imagic.bench.study import open_study, tally
from imagic.bench.study.server import StudyServer
from imagic.core.errors import OptionError


@contextmanager
def serving(study):
    with StudyServer(study) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(run_folder, rows, tmp_path):
    with serving(open_study(run_folder, rows, tmp_path / "study.sqlite", methods=["good", "poor"])) as server:
        yield server


def ask(server, path, form=None, method=None, **headers):
    """Status, headers and body of a request, which is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    body = None if form is None else urlencode(form)
    try:
        connection.request(method or ("GET" if form is None else "POST"), path, body, sent)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def join(server, name="Jo"):
    status, headers, _ = ask(server, "/raters", {"name": name})
    assert status == 303
    return headers["Location"]


def test_a_rater_answers_every_question_and_it_is_counted(server):
    assert b"There are 6 pairs" in ask(server, "/")[2]
    rater = join(server)
    for number in range(1, 8):
        status, _, body = ask(server, rater)
        assert status == 200
        assert f"Question {number} of 7" in body.decode()
        pictures = re.findall(r'<img src="([^"]+)"', body.decode())
        assert pictures == [f"{rater}/{number}/{which}" for which in ("input", "left", "right")]
        sizes = [Image.open(io.BytesIO(ask(server, path)[2])).size for path in pictures]
        assert sizes == [(16, 16)] * 3
        status, headers, _ = ask(server, f"{rater}/{number}", {"choice": "left"})
        assert (status, headers["Location"]) == (303, rater)
        assert len(server.study.store.answers()) == number
    assert b"That was all" in ask(server, rater)[2]
    # Always left: the repetition, whose sides are swapped, gives this rater away.
    (found,) = tally(server.study.store.answers()).raters
    assert (found.name, found.careless) == ("Jo", True)


def test_a_rater_cannot_tell_which_method_is_which(server):
    rater = join(server)
    page = ask(server, rater)[2].decode()
    assert "good" not in page
    assert "poor" not in page
    for which in ("left", "right"):
        _, headers, body = ask(server, f"{rater}/1/{which}")
        assert not any(word in str(headers) + body.decode("latin-1") for word in ("good", "poor"))


def test_pictures_are_those_of_the_question(server):
    rater = join(server)
    token = rater.rpartition("/")[2]
    for which in ("input", "left", "right"):
        served = ask(server, f"{rater}/1/{which}")[2]
        assert served == server.study.picture(token, 1, which)
    assert np.asarray(Image.open(io.BytesIO(served))).std() > 0


def test_texts_and_names_are_escaped(run_folder, rows, tmp_path):
    rude = [{**row, "target_text": "<script>alert(1)</script>"} for row in rows]
    with serving(open_study(run_folder, rude, tmp_path / "s")) as server:
        rater = join(server, "\x1b[31m<b>" + "x" * 200)
        assert b"&lt;script&gt;alert(1)" in ask(server, rater)[2]
        ask(server, f"{rater}/1", {"choice": "left"})
        (answer,) = server.study.store.answers()
        assert answer.name.startswith("[31m<b>x")
        assert len(answer.name) == 80


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd", "/study.sqlite", "/rows.jsonl", "/images/good/item-0.png", "/templates/study.css",
        "//etc/passwd", "/study.css/..", "/%2e%2e/rows.jsonl", "/raters", "/raters/", "/raters/nobody",
        "/raters/nobody/1/left", "/study.css?x", "http:/study.sqlite", "/raters/..%2f..%2frows.jsonl",
        "{rater}/1/../../x", "{rater}/99/left", "{rater}/1/middle", "{rater}/1/left.png", "{rater}/-1/left",
        "{rater}/1/left/../../../rows.jsonl", "{rater}/9999999/left",
    ],
)  # fmt: skip
def test_nothing_but_pages_and_pictures_of_questions_is_served(server, path):
    status, _, body = ask(server, path.format(rater=join(server)))
    assert status == 404
    assert b"begin at the first page" in body


def test_every_answer_forbids_the_browser_to_load_from_elsewhere(server):
    for path in ("/", "/study.css", "/study.js", join(server), "/missing"):
        _, headers, _ = ask(server, path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_only_this_computer_is_listened_to(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_other_host_names_and_sites_are_refused(server):
    rater = join(server)
    assert ask(server, "/", Host=f"localhost:{server.server_port}")[0] == 200
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1:1", ""):
        assert ask(server, "/", Host=host)[0] == 403
    own = f"http://127.0.0.1:{server.server_port}"
    for origin, status in (("http://evil.example", 403), ("null", 403), (own, 303)):
        assert ask(server, f"{rater}/1", {"choice": "left"}, Origin=origin)[0] == status
    assert len(server.study.store.answers()) == 1


def test_wrong_forms_are_refused_and_change_nothing(server):
    rater = join(server)
    assert ask(server, f"{rater}/1", {"choice": "both"})[0] == 400
    assert ask(server, f"{rater}/1", {"side": "left"})[0] == 400
    assert ask(server, f"{rater}/1", {str(index): "1" for index in range(9)})[0] == 400
    assert ask(server, f"{rater}/1", {}, Content_Length="999999")[0] == 413
    assert ask(server, f"{rater}/1", {}, Content_Length="x")[0] == 411
    assert ask(server, f"{rater}/1", {"choice": "left"}, method="PUT")[0] == 501
    assert ask(server, "/raters/nobody/1", {"choice": "left"})[0] == 303  # says nothing of who is known
    assert ask(server, "/elsewhere", {"choice": "left"})[0] == 404
    assert server.study.store.answers() == []


def test_an_answer_that_comes_twice_counts_once_and_as_first_given(server):
    rater = join(server)
    for choice in ("right", "left"):
        assert ask(server, f"{rater}/1", {"choice": choice})[0] == 303
    assert [each.choice for each in server.study.store.answers()] == ["right"]


def test_a_picture_that_is_gone_is_one_sentence(run_folder, rows, tmp_path):
    gone = [{**row, "picture": "images/gone.png"} for row in rows]
    with serving(open_study(run_folder, gone, tmp_path / "s")) as server:
        status, _, body = ask(server, f"{join(server)}/1/left")
        assert status == 500
        assert b"is missing: run the benchmark again" in body
        assert b"Traceback" not in body


def test_a_restarted_study_goes_on_where_it_was(run_folder, rows, tmp_path):
    def opened():
        return open_study(run_folder, rows, tmp_path / "s")

    with serving(opened()) as server:
        rater = join(server)
        ask(server, f"{rater}/1", {"choice": "left"})
    with serving(opened()) as server:
        assert b"Question 2 of" in ask(server, rater)[2]


def test_a_port_that_is_taken_is_one_sentence(server):
    with pytest.raises(OptionError, match="cannot be used"):
        StudyServer(server.study, server.server_port)
