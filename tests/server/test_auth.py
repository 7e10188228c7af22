"""Bearer tokens. Signed ones are made here from the RFCs, not with the library that checks them."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from execnode.server.auth import Authentication, CapabilityToken, SecretError, SignedBearerToken

SECRET = b"0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000
LATER = NOW + 1000

INVALID_JWT = "invalid websocket jwt"
EXPIRED = "expired websocket jwt"
NOT_YET = "websocket jwt is not valid yet"
WRONG_ISSUER = "websocket jwt issuer mismatch"
WRONG_AUDIENCE = "websocket jwt audience mismatch"


def part(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def token(
    claims: Any,
    header: Any = None,
    *,
    key: bytes = SECRET,
    digest: str = "sha256",
    raw: bytes | None = None,
) -> str:
    header = {"alg": "HS256", "typ": "JWT"} if header is None else header
    body = json.dumps(claims).encode() if raw is None else raw
    signed = part(json.dumps(header).encode()) + b"." + part(body)
    return (signed + b"." + part(hmac.digest(key, signed, digest))).decode()


def signed(**options: Any) -> SignedBearerToken:
    return SignedBearerToken(SECRET, now=lambda: NOW + 0.9, **options)


CAPABILITY = CapabilityToken(hashlib.sha256(b"to ken").digest())


# --- the header -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [CAPABILITY, signed()], ids=["capability", "signed"])
@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer   ",
        " Bearer to ken",
        "Bearer\tto ken",
        "Bearerto ken",
        "Basic to ken",
        "Bearer \xff",
        "Bearer a\tb",
        "Bearer a\n",
    ],
)
def test_headers_that_are_none(way: Authentication, header: str) -> None:
    assert way.check(header) == "invalid authorization header"
    assert way.check(None) == "missing websocket bearer token"


@pytest.mark.parametrize("header", ["Bearer to ken", "bEARER   to ken  ", "BEARER to ken"])
def test_a_token_that_is_right(header: str) -> None:
    assert CAPABILITY.check(header) is None


@pytest.mark.parametrize("wrong", ["to", "to  ken", "TO KEN", "to ken.", "x" * 100_000])
def test_a_token_that_is_wrong(wrong: str) -> None:
    assert CAPABILITY.check(f"Bearer {wrong}") == "invalid websocket bearer token"


# --- capability tokens ----------------------------------------------------------------------------


def test_a_token_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b" \tto ken\r\n\n")
    assert CapabilityToken.from_file(file).check("Bearer to ken") is None
    file.write_bytes(b" \n")
    with pytest.raises(SecretError, match="must not be empty"):
        CapabilityToken.from_file(file)
    with pytest.raises(SecretError, match="absent cannot be read: No such file"):
        CapabilityToken.from_file(tmp_path / "absent")


def test_a_token_by_its_digest() -> None:
    digits = hashlib.sha256(b"to ken").hexdigest()
    for spelling in (digits, digits.upper(), f" {digits}\n"):
        assert CapabilityToken.from_sha256(spelling).check("Bearer to ken") is None
    for wrong in ("", digits[1:], digits + "0", "g" * 64, f"{digits[:32]} {digits[33:]}"):
        with pytest.raises(SecretError, match="64 hexadecimal digits"):
            CapabilityToken.from_sha256(wrong)


# --- signed tokens --------------------------------------------------------------------------------


def test_the_secret_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\n " + SECRET + b" \n")
    way = SignedBearerToken.from_file(file, now=lambda: NOW)
    assert way.check(f"Bearer {token({'exp': LATER})}") is None
    file.write_bytes(SECRET[1:] + b"  ")
    with pytest.raises(SecretError, match=r"secret: .* at least 32 bytes"):
        SignedBearerToken.from_file(file)
    with pytest.raises(SecretError, match="cannot be read"):
        SignedBearerToken.from_file(tmp_path / "absent")


@pytest.mark.parametrize(
    ("claims", "rejection"),
    [
        ({"exp": LATER}, None),
        ({"exp": 2**63 - 1}, None),
        ({"exp": NOW}, None),
        ({"exp": NOW - 30}, None),
        ({"exp": NOW - 31}, EXPIRED),
        ({"exp": -5}, EXPIRED),
        ({"exp": LATER, "nbf": NOW + 30}, None),
        ({"exp": LATER, "nbf": NOW + 31}, NOT_YET),
        ({"exp": LATER, "nbf": None}, None),
        ({"exp": 1, "nbf": LATER}, EXPIRED),
        ({"exp": LATER, "iat": LATER}, None),
        ({"exp": LATER, "iat": "x", "sub": 1, "jti": 1, "more": [{}]}, None),
        ({"exp": LATER, "iss": "anybody", "aud": ["any", "body"]}, None),
        ({}, INVALID_JWT),
        ({"exp": None}, INVALID_JWT),
        ({"exp": LATER + 0.5}, INVALID_JWT),
        ({"exp": float(LATER)}, INVALID_JWT),
        ({"exp": str(LATER)}, INVALID_JWT),
        ({"exp": True}, INVALID_JWT),
        ({"exp": 2**63}, INVALID_JWT),
        ({"exp": 2**70}, INVALID_JWT),
        ({"exp": LATER, "nbf": "x"}, INVALID_JWT),
        ({"exp": LATER, "nbf": NOW - 5.5}, INVALID_JWT),
        ({"exp": LATER, "nbf": True}, INVALID_JWT),
        ({"exp": LATER, "iss": 5}, INVALID_JWT),
        ({"exp": LATER, "aud": 5}, INVALID_JWT),
        ({"exp": LATER, "aud": ["x", 1]}, INVALID_JWT),
        ([1], INVALID_JWT),
    ],
    ids=repr,
)
def test_claims(claims: Any, rejection: str | None) -> None:
    assert signed().check(f"Bearer {token(claims)}") == rejection


@pytest.mark.parametrize(
    ("claims", "rejection"),
    [
        ({"iss": "me", "aud": "you"}, None),
        ({"iss": "me", "aud": ["others", "you"]}, None),
        ({"aud": "you"}, WRONG_ISSUER),
        ({"iss": None, "aud": "you"}, WRONG_ISSUER),
        ({"iss": "him", "aud": "you"}, WRONG_ISSUER),
        ({"iss": "him", "aud": "them"}, WRONG_ISSUER),
        ({"iss": ["me"], "aud": "you"}, INVALID_JWT),
        ({"iss": "me"}, WRONG_AUDIENCE),
        ({"iss": "me", "aud": "yourself"}, WRONG_AUDIENCE),
        ({"iss": "me", "aud": []}, WRONG_AUDIENCE),
        ({"iss": "me", "aud": None}, WRONG_AUDIENCE),
        ({"iss": "me", "aud": {}}, INVALID_JWT),
        ({"iss": "him", "aud": "them", "exp": 1}, EXPIRED),
        ({"iss": "him", "aud": "them", "nbf": LATER}, NOT_YET),
    ],
    ids=repr,
)
def test_issuer_and_audience(claims: Any, rejection: str | None) -> None:
    way = signed(issuer=" me ", audience="you\n")
    assert way.check(f"Bearer {token({'exp': LATER, **claims})}") == rejection


def test_blank_names_ask_for_nothing() -> None:
    assert signed(issuer="  ", audience="").check(f"Bearer {token({'exp': LATER})}") is None


def test_clocks_that_may_differ_by_something_else() -> None:
    exact, patient = signed(clock_skew=0), signed(clock_skew=300)
    for exp, rejections in ((NOW, (None, None)), (NOW - 1, (EXPIRED, None))):
        header = f"Bearer {token({'exp': exp})}"
        assert (exact.check(header), patient.check(header)) == rejections
    assert exact.check(f"Bearer {token({'exp': LATER, 'nbf': NOW + 1})}") == NOT_YET


GOOD = token({"exp": LATER})


@pytest.mark.parametrize(
    "text",
    [
        token({"exp": LATER}, {"alg": "none"}),
        token({"exp": LATER}, {"alg": "none"}).rpartition(".")[0] + ".",
        token({"exp": LATER}, {"alg": "HS512"}, digest="sha512"),
        token({"exp": LATER}, {"alg": "hs256"}),
        token({"exp": LATER}, {"alg": ["HS256"]}),
        token({"exp": LATER}, {}),
        token({"exp": LATER}, []),
        token({"exp": LATER}, key=b"x" * 32),
        token({"exp": LATER}, key=b" " + SECRET + b"\n"),
        token({"exp": 1}, key=b"x" * 32),
        token(None, raw=b'{"exp":1,"exp":%d}' % LATER),
        token(None, raw=b'{"exp":1e10}'),
        token(None, raw=b"no json"),
        token(None, raw=b"\xff"),
        token(None, raw=b"[" * 100_000),
        part(b"[" * 100_000).decode() + ".e30.x",
        "one",
        "one.two",
        "...",
        GOOD + "=",
        GOOD + ".",
        GOOD + ".x",
        GOOD[:10] + " " + GOOD[10:],
        GOOD.rpartition(".")[0] + ".",
        GOOD.rpartition(".")[0],
    ],
)
def test_what_is_no_token_of_ours(text: str) -> None:
    assert signed().check(f"Bearer {text}") == INVALID_JWT


def test_a_token_may_be_long_and_without_a_type() -> None:
    header = f"Bearer {token({'exp': LATER, 'more': 'x' * 100_000}, {'alg': 'HS256'})}"
    assert signed().check(header) is None
