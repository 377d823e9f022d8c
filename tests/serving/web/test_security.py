"""Who may call the server, and what every answer says."""

from __future__ import annotations

import pytest
from helpers.live_server import with_server

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.config import ServeConfig, is_loopback

GETS = (
    "/",
    "/app.js",
    "/portraits",
    "/metrics",
    "/openapi.json",
    "/health",
    "/sse?sessionid=x",
    "/stream",
    "/record/x",
)
POSTS = ("/offer", "/human", "/humanaudio", "/interrupt_talk", "/is_speaking", "/motion", "/close", "/record")
TOKEN = "a-long-secret"


def test_another_address_needs_a_token():
    with pytest.raises(TalkingError, match="--token with it"):
        ServeConfig(host="0.0.0.0")
    with pytest.raises(TalkingError, match="8 characters"):
        ServeConfig(host="0.0.0.0", token="short")
    with pytest.raises(TalkingError, match="--max-sessions"):
        ServeConfig(max_sessions=0)
    assert ServeConfig(host="0.0.0.0", token=TOKEN).token == TOKEN
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_every_route_and_socket_asks_for_the_token():
    async def talk(client, registry):
        for path in GETS:
            assert (await client.get(path)).status == 401, path
        for path in POSTS:
            assert (await client.post(path, json={})).status == 401, path
        wrong = {"Authorization": f"Bearer {TOKEN}x"}
        assert (await client.get("/portraits", headers=wrong)).status == 401
        assert (await client.get("/portraits", headers={"Authorization": f"Bearer {TOKEN}"})).status == 200
        assert registry.sessions() == []

    with_server(talk, token=TOKEN)


def test_the_pages_token_moves_into_a_cookie():
    async def talk(client, registry):
        answer = await client.get(f"/?token={TOKEN}", allow_redirects=False)
        assert answer.status == 302 and answer.headers["Location"] == "/"
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert (await client.get("/")).status == 200  # the client keeps cookies
        assert (await client.get("/app.js")).status == 200

    with_server(talk, token=TOKEN)


def test_pages_of_other_origins_may_not_call():
    async def talk(client, registry):
        for path in POSTS:
            assert (await client.post(path, json={}, headers={"Origin": "https://evil.example"})).status == 403, path
        assert (await client.get("/stream", headers={"Origin": "https://evil.example"})).status == 403
        assert (await client.get("/metrics", headers={"Sec-Fetch-Site": "cross-site"})).status == 403
        own = f"http://{client.host}:{client.port}"
        assert (await client.get("/portraits", headers={"Origin": own})).status == 200
        friend = await client.get("/portraits", headers={"Origin": "https://friend.example"})
        assert friend.status == 200
        assert friend.headers["Access-Control-Allow-Origin"] == "https://friend.example"
        assert (await client.options("/offer", headers={"Origin": "https://friend.example"})).status == 204
        assert "Access-Control-Allow-Origin" not in (await client.get("/portraits", headers={"Origin": own})).headers

    with_server(talk, allowed_origins=("https://friend.example",))


def test_another_name_of_the_address_is_refused():
    async def talk(client, registry):
        assert (await client.get("/", headers={"Host": "evil.example"})).status == 403
        assert (await client.get("/", headers={"Host": "portrait.example:80"})).status == 200
        assert (await client.get("/", headers={"Host": "localhost"})).status == 200

    with_server(talk, allowed_hosts=("portrait.example",))


def test_every_answer_forbids_framing_and_says_that_it_is_synthetic():
    async def talk(client, registry):
        for path in ("/", "/app.js", "/metrics", "/nothing", "/record/x"):
            headers = (await client.get(path)).headers
            assert headers["X-Frame-Options"] == "DENY"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Synthetic-Media"].startswith("synthetic media")

    with_server(talk)


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml", "/%2e%2e/app.py", "/static/app.js", "/app.js/../../config.py",
        "/record/..%2f..%2fetc%2fpasswd", "/record/%2Fetc%2Fpasswd", "//etc/passwd",
    ],
)  # fmt: skip
def test_no_path_of_a_request_reaches_the_disk(path):
    async def talk(client, registry):
        from yarl import URL

        answer = await client.session.get(URL(f"http://{client.host}:{client.port}{path}", encoded=True))
        assert answer.status == 404

    with_server(talk)
