"""Hostile texts, names, numbers, paths and bodies."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

EDITS, DONE = "/api/v1/edits", "{done}"
STRANGE_JSON: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        (
            None,
            True,
            -1,
            0,
            2**63,
            10**400,
            1e308,
            float("nan"),
            float("inf"),
            "",
            "x" * 100_000,
            [],
            {},
            [[]],
            "../../../etc/passwd",
            "/etc/passwd",
            "\x1b[31m",
            "a\nb",
            "\ud800",
            "\u202egnp.exe",
            "🐶" * 100,
        )
    ),
    st.text(max_size=40),
    st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=5)), max_size=5),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)

TEXTS = st.one_of(
    st.sampled_from(
        (
            "x" * 100_000,
            "a dog " * 17_000,
            "🐶" * 25_000,
            "\u202etac a\u202c",
            "كلب جالس على العشب",
            "e" + "\u0301" * 5000,
            "a\x1b[31mdog\x1b]0;x\x07",
            "a\ndog\r\n",
            "\x01\x02\x7f\x9b",
            " \t\u3000",
            "\ufeffa dog",
            "\ud800a dog",
            "\uffff\ufffe",
            "../../../etc/passwd",
            "..\\..\\dog",
            "%s%n{0}${HOME}`id`",
            "<script>alert(1)</script>",
            "<|endoftext|>" * 99,
            "👨‍👩‍👧‍👦 a dog 🇦🇶",
            "-rf",
            "--help",
            "'; DROP TABLE jobs;--",
            "NULL",
            "[/red]",
            "[bold",
            "a" * 1999,
            "dog" * 10_000,
        )
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=200),
)
NAMES = st.one_of(
    st.sampled_from(
        (
            "../out.png",
            "../../../../../../no/such.png",
            "no/such/out.png",
            "out.exe",
            "out",
            "",
            ".",
            "..",
            "...png",
            ".png",
            "x" * 300 + ".png",
            "🐶" * 60 + ".png",
            "a\nb.png",
            "\x1b[31m.png",
            "\u202egnp.png",
            "\udcff.png",
            "model",
            "model/x.png",
            "picture.png",
            "picture.png/x.png",
            "con.png",
            "a b.png",
            "%s.png",
            "-x.png",
            "out.PNG",
            "out.webp",
            "out.jpg",
            "~/x.png",
            "/dev/null",
            "/dev/full",
            "/proc/self/mem",
            "file:///etc/passwd",
            "http://127.0.0.1:1/x.png",
            "\\\\host\\x.png",
        )
    ),
    st.text(st.characters(exclude_characters="\0/"), max_size=30).map(lambda name: name + ".png"),
)
NUMBERS = st.one_of(
    st.sampled_from(
        (
            "nan",
            "-nan",
            "inf",
            "-inf",
            "NaN",
            "Infinity",
            "1e400",
            "-1e400",
            "1e308",
            "-1",
            "-0.0",
            "0",
            "0.5",
            "1",
            "2",
            "1e-320",
            "9" * 400,
            "9" * 5000,
            "2147483648",
            "9223372036854775808",
            "18446744073709551616",
            "0x10",
            "1_000",
            "１",
            "½",
            "",
            " ",
            "auto",
            "null",
            "true",
            "[1,NaN]",
            "[[1]]",
            '{"a":1}',
            "[" * 100_000,
            '{"a":' * 50_000,
            '"x"',
            "x" * 100_000,
            "0:1:1e-9",
            "0:1:0.5",
            "1:0:0.1",
            "nan:1:1",
            "0:inf:1",
            "1,2,3",
            "0,0,16,16",
            "0,0,99999999999,16",
            "-1,-1,16,16",
            "0,0,0,0",
        )
    ),
    st.floats().map(str),
    st.integers(-(2**70), 2**70).filter(lambda number: not 10 <= number <= 4096).map(str),
)
FLAGS = (
    "--eta",
    "--seed",
    "--num-seeds",
    "--crop",
    "--feather",
    "--guidance-scale",
    "--num-steps",
    "--sampler",
    "--preset",
    "--method",
    "--model",
    "--device",
    "--dtype",
    "--mask",
    "--variant",
    "--revision",
    "--lora",
    "--config",
    "--quantise-text",
    "--checkpoint-seconds",
)
OPTIONS = (
    "eta",
    "etas",
    "strength",
    "strengths",
    "num_steps",
    "guidance_scale",
    "sampler",
    "target_text",
    "ddim_noise",
    "mask_feather",
    "mask_noises",
    "max_batch",
    "no_such",
    "parts",
    "embedding_lr",
    "rank",
    "early_stop",
    "__class__",
    "",
    "encoder",
    "alpha",
    "network_steps",
)


def paths() -> st.SearchStrategy[str]:
    """Of requests, with DONE for the id of a finished edit."""
    ids = st.one_of(
        st.sampled_from(
            (DONE, "0" * 32, "..", "../..", "..%2f..%2fjobs.sqlite", "%00", "x" * 5000, "0" * 32 + "%0a", "~", "*")
        ),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=40).map(lambda text: quote(text, safe="")),
    )
    outputs = st.sampled_from(
        (
            "",
            "/result",
            "/thumbnail",
            "/input",
            "/mask",
            "/state",
            "/sheet",
            "/preview",
            "/animation",
            "/family",
            "/events",
            "/cancel",
            "/../../jobs.sqlite",
            "/..%2f..%2fserver.lock",
            "/input.png",
        )
    )
    queries = st.one_of(
        st.just(""),
        st.builds(
            lambda name, value: f"?{name}={quote(value, safe='', errors='surrogatepass')}",
            st.sampled_from(("index", "limit", "before")),
            NUMBERS.filter(lambda value: len(value) <= 5000),
        ),
    )
    edits = st.builds(lambda id, output, query: f"{EDITS}/{id}{output}{query}", ids, outputs, queries)
    others = st.sampled_from(
        (
            "/../settings.py",
            "/%2e%2e/settings.py",
            "//etc/passwd",
            "/api/v1/examples/..%2f..%2fx",
            "/api/v1/examples/posture",
            "/api/v1/nothing",
            "/api/v1/openapi.json",
            "/api/v1/metrics",
            "/api/v1/methods",
            "/..%5c..%5cx",
            "/%ff%fe",
        )
    )
    return st.one_of(edits, others, queries.map(lambda query: EDITS + query))


def part(name: str, data: bytes, file: str | None = None) -> bytes:
    """A field of a form, or a file in it."""
    of_file = b"" if file is None else b'; filename="' + file.encode("utf-8", "surrogatepass") + b'"'
    return (
        b'--b\r\nContent-Disposition: form-data; name="' + name.encode() + b'"' + of_file + b"\r\n\r\n" + data + b"\r\n"
    )


BODIES = st.one_of(
    st.sampled_from(
        (
            b"",
            b"{",
            b"null",
            b"[]",
            b'"x"',
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"\xff\xfe",
            b"\0" * 100_000,
            b'{"image":"\\ud800"}',
            b'{"text":"a","text":"b"}',
            b"1" * 100_000,
            b'{"seed":' + b"9" * 5000 + b"}",
            b"--b",
            b"--b\r\n\r\n\r\n--b--",
            b"--b--\r\n",
            b"--b\r\n" * 20_000,
            part("image", b"x") * 2 + b"--b--\r\n",
            part("x" * 100_000, b"x") + b"--b--\r\n",
            b"".join(part(f"f{index}", b"x") for index in range(100)) + b"--b--\r\n",
            part("options", b"[" * 100_000) + b"--b--\r\n",
            b"key=x&text=y",
            b'{"key":"' + b"x" * 100_000 + b'"}',
            b'{"key":"\\u0000"}',
        )
    ),
    st.binary(max_size=300),
    STRANGE_JSON.map(lambda value: json.dumps(value).encode()),
)
KINDS = st.sampled_from(
    (
        "application/json",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary=" + "b" * 300,
        "application/x-www-form-urlencoded",
        "text/plain",
        "",
        "/",
        "x" * 5000,
    )
)
HEADERS = (
    "Host",
    "Origin",
    "Idempotency-Key",
    "Cookie",
    "Authorization",
    "Content-Length",
    "Sec-Fetch-Site",
    "Accept",
    "Range",
    "Transfer-Encoding",
    "X-Forwarded-For",
)
HEADER_VALUES = st.one_of(
    st.sampled_from(
        (
            "",
            "x" * 60_000,
            "-1",
            "1e9",
            "9" * 5000,
            "²",
            "null",
            "[::1",
            "[",
            "a:b:c",
            "imagic_key=\xff",
            "imagic_key=a; imagic_key=b",
            "Bearer \xff",
            "\x80",
            "bytes=0-",
            "chunked",
            "127.0.0.1:99999",
            "127.0.0.1%00.evil",
            "../..",
        )
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60),
)
