"""nginx twice: as the provider that answers at no cost, and as the gateway that does nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from benchmarks import payloads
from benchmarks.processes import Launch

#: Paths of the providers: whole replies, streams, Anthropic's streams, and paced ones.
CHAT_BASE, STREAM_BASE, CLAUDE_BASE, PACED_BASE = "/chat", "/stream", "/claude", "/paced"
_REPLIES: Final = {
    f"{CHAT_BASE}/v1/chat/completions": ("chat.json", "application/json"),
    f"{STREAM_BASE}/v1/chat/completions": ("stream.sse", "text/event-stream"),
    f"{CLAUDE_BASE}/v1/messages": ("claude.sse", "text/event-stream"),
}


def is_installed() -> bool:
    """Whether nginx can be run; Debian keeps it off the path of most users."""
    return _program() is not None


def provider(port: int, directory: Path) -> Launch:
    """A provider that answers each request with a file."""
    replies = directory / "replies"
    replies.mkdir(parents=True, exist_ok=True)
    (replies / "chat.json").write_bytes(payloads.chat_reply())
    (replies / "stream.sse").write_bytes(payloads.openai_stream())
    (replies / "claude.sse").write_bytes(payloads.claude_stream())
    (replies / "ready").write_bytes(b"ready\n")
    # A file is no answer to POST: the 405 for it is made the file.
    locations = [
        f"location = {path} {{ error_page 405 =200 /{name}; return 405; }}\n"
        f"location = /{name} {{ types {{}} default_type {kind}; error_page 405 =200 $uri; }}"
        for path, (name, kind) in _REPLIES.items()
    ]
    server = f"root {replies};\n" + "\n".join(locations)
    return _launch(port, server, directory, outside="")


def proxy(port: int, provider_port: int, paced_port: int, directory: Path) -> Launch:
    """`proxy_pass` to the providers, with connections kept."""
    upstreams = {"provider": provider_port, "paced": paced_port}
    outside = "\n".join(
        f"upstream {name} {{ server 127.0.0.1:{number}; keepalive 256;"
        " keepalive_requests 1000000; }"
        for name, number in upstreams.items()
    )
    common = 'proxy_http_version 1.1; proxy_set_header Connection "";'
    server = (
        f"location / {{ proxy_pass http://provider; {common} }}\n"
        # Each piece of a stream is passed on as it comes.
        f"location {PACED_BASE}/ {{ proxy_pass http://paced; {common} proxy_buffering off;"
        " proxy_read_timeout 600s; }"
    )
    return _launch(port, server, directory, outside=outside)


def _launch(port: int, server: str, directory: Path, *, outside: str) -> Launch:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "nginx.conf"
    path.write_text(_configuration(port, server, directory, outside))
    program = _program() or "nginx"
    return Launch(
        command=[
            program,
            "-p",
            str(directory),
            "-e",
            str(directory / "error.log"),
            "-c",
            str(path),
        ],
        ready_url=f"http://127.0.0.1:{port}/ready",
    )


def _configuration(port: int, server: str, directory: Path, outside: str) -> str:
    # Workers of a root's nginx would be nobody, who cannot read our directory.
    user = "user root;" if os.geteuid() == 0 else ""
    scratch = " ".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
access_log off;
keepalive_requests 1000000;
{scratch}
{outside}
server {{
listen 127.0.0.1:{port} backlog=4096;
{server}
}}
}}
"""


def _program() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
