from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adapters.llamacpp.tests.make_gguf import write_scripted
from one_api_llamacpp.gguf_header import read_header

MAKER = Path(__file__).with_name("make_gguf.py")


@pytest.mark.slow
def test_the_maker_works_as_a_program(tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages[0].content }}", "utf-8")
    out = tmp_path / "made.gguf"
    command = [str(MAKER), str(out), "--text", "Hi!", "--template", str(template)]
    subprocess.run([sys.executable, *command, "--context", "300"], check=True, timeout=60)
    header = read_header(out)
    assert header.context_tokens == 300
    assert header.metadata["tokenizer.chat_template"] == "{{ messages[0].content }}"


@pytest.mark.parametrize("text", ["", "\U0001f7df"], ids=["none", "a byte twice"])
def test_a_text_that_cannot_be_scripted_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"no text|one byte twice"):
        write_scripted(tmp_path / "no.gguf", text)
