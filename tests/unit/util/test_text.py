"""No secret is shown, and nothing that steers a terminal."""

from __future__ import annotations

import pytest

from upscaling.errors import ConfigError, ErrorClass, PlatformError
from upscaling.http.address import secret_in, shown
from upscaling.util.text import keep_secret, plain_text, redact


def test_what_the_environment_keeps_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGCAPI_S3_MY_BUCKET_SECRET_ACCESS_KEY", "s3cr3t-of-a-bucket")
    monkeypatch.setenv("UPSCALING_STAC_TOKEN", "t0ken-of-ours")
    monkeypatch.setenv("MY_PASSWORD", "of-an-input")
    monkeypatch.setenv("OPENEO_AUTH_USERNAME", "somebody")
    keep_secret("MY_PASSWORD")
    told = redact("somebody sent s3cr3t-of-a-bucket, t0ken-of-ours and of-an-input")
    assert told == "somebody sent ***, *** and ***"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://me:pw@host/x.json?sig=abc is not there", "http://***@host/x.json?*** is not there"),
        ("url: /x.json?X-Amz-Signature=ab%2Fc&y=1 (Caused by", "url: /x.json?*** (Caused by"),
        ("'https://h/a?token=abc'", "'https://h/a?***'"),
        ("Authorization: Bearer abc.def-ghi_jkl", "Authorization: Bearer ***"),
        ("got X-Api-Key: abcdef123, why", "got X-Api-Key: ***, why"),
        ("Authorization: Token abcdef0123", "Authorization: Token ***"),
        ("for password=hunter and {'client_secret': 'a1b2c3'}", "for password=*** and {'client_secret': '***'}"),
        ("https://h/x#access_token=abc", "https://h/x#access_token=***"),
        ("sent eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.abc_d", "sent ***"),
        ("password: is missing; token: expired", "password: is missing; token: expired"),
        ("why? a=b", "why? a=b"),
        ("https://h/a/b.json", "https://h/a/b.json"),
    ],
)
def test_addresses_are_told_without_secrets(text: str, told: str) -> None:
    assert redact(text) == told


@pytest.mark.parametrize(
    ("href", "found"),
    [
        ("http://user:password@host/x.json", "user:password"),
        ("https://token@host/x.json", "user"),
        ("s3://key:secret@bucket/x", "user:password"),
        ("https://host/x?sig=abc", "sig"),
        ("https://host/x?a=1&X-Amz-Signature=abc", "X-Amz-Signature"),
        ("https://host/x#access_token=abc", "access_token"),
        ("https://host/x?API_KEY=abc", "API_KEY"),
        ("https://host/x;jsessionid=abc", "jsessionid"),
        ("https://host/x?pass=abc", "pass"),
        ("https://proxy/?url=https%3A%2F%2Fme%3Apw%40host", "user:password"),
        ("https://proxy/?url=https%3A%2F%2Fhost%2Fx%3Fsig%3Dabc", "sig"),
        ("https://proxy/?url=https%3A%2F%2Fhost%2Fx", ""),
        ("/vsicurl/x", ""),
        ("https://host/x?f=json&limit=3", ""),
        ("https://host/a@b/x.json", ""),
        ("oci://ghcr.io/x/y@sha256:abc", ""),
        ("POLYGON((0 0, 1 1))", ""),
    ],
)
def test_secrets_in_addresses_are_known(href: str, found: str) -> None:
    assert secret_in(href) == found


def test_nothing_steers_the_terminal() -> None:
    words = "a\x1b[31mb\x07c\u202ed\né"
    assert plain_text(words) == "ab c d é"
    assert str(ConfigError(words, key="k\x1b", file="f\x1b]0;x\x07")).isprintable()
    assert str(PlatformError(words, error_class=ErrorClass.OUTPUT)).isprintable()
    assert shown("http://a:b@h/x\x1b?c=d#e") == "http://h/x"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("word", ["a", "a-", "eyJ-", "a?", "token:", "a@", "://a:", "password"])
def test_words_of_megabytes_are_read_in_one_go(word: str) -> None:
    text = word * (3_000_000 // len(word))
    assert plain_text(text) == text[:200]
    assert redact(text).startswith(word)
