from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapters.llamacpp.tests.make_gguf import write_bert, write_scripted
from one_api.adapter import (
    Call,
    CompletionRequest,
    Event,
    Finish,
    TextDelta,
    UpstreamError,
    Usage,
    UsageReport,
)
from one_api_llamacpp import hub
from one_api_llamacpp.command import local
from one_api_llamacpp.gguf_header import GGUFHeader, read_header
from one_api_llamacpp.hub import CannotFetch, fetch_model
from one_api_llamacpp.speed import Load, Speed, measure

Write = Callable[..., Path]
Run = Callable[..., Result]


@pytest.fixture
def run(models: Path) -> Run:
    """Runs `one-api local` over `models`."""

    def invoke(*arguments: str, **variables: str) -> Result:
        environment = {"LOCAL_MODELS_DIR": str(models), "LOCAL_THREADS": "1", **variables}
        return CliRunner().invoke(local, arguments, obj=environment)

    return invoke


class TestList:
    def test_models_and_what_they_take(self, models: Path, write_model: Write, run: Run) -> None:
        write_model("talker", context=300)
        write_bert(models / "embedder.gguf", ["red"])
        listed = run("list")
        assert 0 == listed.exit_code
        head, *rows = (line.split() for line in listed.stdout.splitlines())
        assert ["MODEL", "KIND", "PARAMETERS", "STORED", "CONTEXT", "FILE", "MEMORY"] == head
        assert ["embedder", "embedding"] == rows[0][:2]
        assert ["talker", "chat", "0.0", "M", "F32", "300"] == rows[1][:6]

    def test_a_damaged_file_is_told_with_its_reason(
        self, models: Path, write_model: Write, run: Run
    ) -> None:
        path = write_model("coming")
        path.write_bytes(path.read_bytes()[:100])
        listed = run("list")
        assert 0 == listed.exit_code
        assert "coming.gguf is ignored: it is cut off inside its header" in listed.stderr
        assert "tiny-chat" in listed.stdout

    def test_a_name_cannot_steer_the_terminal(self, write_model: Write, run: Run) -> None:
        write_model("red\x1b[31m")
        assert "red\\x1b[31m" in run("list").stdout

    def test_a_wrong_setting_is_named(self, run: Run) -> None:
        error = run("list", LOCAL_PARALLEL="0").exception
        assert "LOCAL_PARALLEL" in str(error)


class TestInspect:
    @pytest.mark.parametrize("as_path", [False, True])
    def test_a_model_says_what_it_is(
        self, models: Path, write_model: Write, run: Run, as_path: bool
    ) -> None:
        path = write_model("talker")
        shown = run("inspect", str(path) if as_path else "talker").stdout
        for line in (
            "Model: talker",
            "Stored: F32",
            f"Path: {models / 'talker.gguf'}",
            "  general.architecture = llama",
            "  tokenizer.ggml.tokens = (",
        ):
            assert line in shown

    def test_the_template_is_shown_whole(self, write_model: Write, run: Run) -> None:
        path = write_model("talker")
        assert read_header(path).chat_template == run("inspect", "talker", "--template").stdout[:-1]

    def test_a_hostile_file_is_an_error_and_no_more(self, tmp_path: Path, run: Run) -> None:
        hostile = tmp_path / "hostile.gguf"
        hostile.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63) + b"\xff" * 64)
        shown = run("inspect", str(hostile))
        assert 1 == shown.exit_code
        assert "cannot be used: a string of" in shown.stderr

    def test_an_unknown_model_is_an_error(self, run: Run) -> None:
        shown = run("inspect", "nothing")
        assert (1, "Error: The model 'nothing' does not exist.\n") == (
            shown.exit_code,
            shown.stderr,
        )


class ScriptedCompletion:
    """Ten tokens; time is counted in events."""

    def __init__(self) -> None:
        self.requests: list[CompletionRequest] = []
        self.time_s = 0.0
        self.error: UpstreamError | None = None

    def now_s(self) -> float:
        return self.time_s

    async def complete(self, request: CompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        self.time_s += 4.0
        for _ in range(10):
            self.time_s += 1.0
            yield TextDelta("a")
        yield Finish("length")
        yield UsageReport(Usage(prompt_tokens=3, completion_tokens=10))


class TestBench:
    HEADER = GGUFHeader(
        {
            "general.architecture": "llama",
            "llama.vocab_size": 1000,
            "tokenizer.ggml.eos_token_id": 7,
            "tokenizer.ggml.eot_token_id": 9,
        }
    )

    async def test_one_stream_is_timed(self) -> None:
        model = ScriptedCompletion()
        speed = await measure(model, self.HEADER, Load(1, 3, 10), seed=1, now_s=model.now_s)
        assert (
            Speed(tokens_per_s=10 / 14, first_median_s=5.0, first_worst_s=5.0, between_s=1.0)
            == speed
        )

    async def test_answers_are_equally_long_and_prompts_differ(self) -> None:
        model = ScriptedCompletion()
        await measure(model, self.HEADER, Load(4, 30, 10), seed=1, now_s=model.now_s)
        assert {10} == {request.max_tokens for request in model.requests}
        assert [{"7": -100, "9": -100}] * 4 == [request.logit_bias for request in model.requests]
        prompts = [request.prompts[0] for request in model.requests]
        assert 4 == len({tuple(prompt) for prompt in prompts})
        assert {30} == {len(prompt) for prompt in prompts}

    async def test_what_the_model_refuses_is_raised(self) -> None:
        model = ScriptedCompletion()
        model.error = UpstreamError("broken")
        with pytest.raises(UpstreamError, match="broken"):
            await measure(model, self.HEADER, Load(2, 3, 10), seed=1)

    def test_a_model_for_vectors_is_refused(self, models: Path, run: Run) -> None:
        write_bert(models / "embedder.gguf", ["red"])
        assert "makes vectors" in run("bench", "embedder").stderr

    @pytest.mark.llamacpp
    def test_a_real_model_is_measured(self, run: Run) -> None:
        done = run(
            *("bench", "tiny-chat", "--streams", "1", "--streams", "4"),
            *("--prompt-tokens", "20", "--tokens", "8"),
        )
        assert (0, "") == (done.exit_code, done.stderr)
        rows = [line.split() for line in done.stdout.splitlines()]
        assert ["1", "4"] == [row[0] for row in rows[1:]]
        assert all(float(row[1]) > 0 for row in rows[1:])


class ScriptedHub:
    """Repositories of files, by name."""

    def __init__(self, **files: bytes) -> None:
        self.files = {f"{name}.gguf": data for name, data in files.items()}
        self.asked: list[tuple[str, str, str | None]] = []
        self.seen: list[list[str]] = []

    def download(self, repo: str, file: str, revision: str | None, directory: Path) -> Path:
        self.asked.append((repo, file, revision))
        if file not in self.files:
            raise CannotFetch(f"'{repo}' has no file '{file}'")
        path = directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.files[file])
        self.seen.append([each.name for each in directory.parent.glob("*.gguf")])
        return path


class TestPull:
    @pytest.fixture
    def whole(self, tmp_path: Path) -> bytes:
        path = tmp_path / "whole.gguf"
        write_scripted(path, "Hi there")
        return path.read_bytes()

    def test_a_file_is_there_when_it_is_whole(self, tmp_path: Path, whole: bytes) -> None:
        source = ScriptedHub(model=whole)
        target = tmp_path / "not" / "yet"
        path = fetch_model(
            "some/repo", "model.gguf", target, revision="v1", download=source.download
        )
        assert (target / "model.gguf", whole) == (path, path.read_bytes())
        assert [("some/repo", "model.gguf", "v1")] == source.asked
        assert [[]] == source.seen  # while it came, nothing was there
        assert [path] == list(target.iterdir())

    def test_a_file_of_a_folder_comes_without_the_folder(
        self, tmp_path: Path, whole: bytes
    ) -> None:
        source = ScriptedHub(**{"gguf/model": whole})
        path = fetch_model(
            "r/r", "gguf/model.gguf", tmp_path, revision=None, download=source.download
        )
        assert tmp_path / "model.gguf" == path

    def test_all_parts_of_a_model_come(self, tmp_path: Path, whole: bytes) -> None:
        names = [f"big-0000{number}-of-00003" for number in (1, 2, 3)]
        source = ScriptedHub(**dict.fromkeys(names, whole))
        models = tmp_path / "models"
        path = fetch_model(
            "r/r", f"{names[0]}.gguf", models, revision=None, download=source.download
        )
        assert models / f"{names[0]}.gguf" == path
        assert sorted(f"{name}.gguf" for name in names) == sorted(
            each.name for each in models.iterdir()
        )

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            ("model.safetensors", "is no .gguf file"),
            ("nothing.gguf", "has no file"),
            ("cut.gguf", "no usable GGUF file: it is cut off"),
            ("big-00001-of-00002.gguf", "has no file 'big-00002-of-00002.gguf'"),
        ],
    )
    def test_what_cannot_be_used_leaves_nothing_behind(
        self, tmp_path: Path, whole: bytes, file: str, reason: str
    ) -> None:
        source = ScriptedHub(**{"cut": whole[:-1], "big-00001-of-00002": whole})
        models = tmp_path / "models"
        models.mkdir()
        with pytest.raises(CannotFetch, match=reason):
            fetch_model("r/r", file, models, revision=None, download=source.download)
        assert [] == list(models.iterdir())

    def test_without_the_package_it_says_what_to_install(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(name: str) -> ModuleType:
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(hub, "import_module", missing)
        done = run("pull", "some/repo", "model.gguf")
        assert 1 == done.exit_code
        assert "pip install 'one-api-llamacpp[hub]'" in done.stderr

    @pytest.mark.parametrize(
        ("raised", "reason"),
        [
            ("RepositoryNotFoundError", "there is no repository 'some/repo'"),
            ("RevisionNotFoundError", "has no revision 'v1'"),
            ("EntryNotFoundError", "has no file 'model.gguf'"),
            ("LocalEntryNotFoundError", "the hub cannot be reached"),
            ("SomethingElse", "the hub did not answer as it should: refused"),
        ],
    )
    def test_what_the_hub_says_is_told_in_words(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, raised: str, reason: str
    ) -> None:
        errors = ModuleType("huggingface_hub.errors")
        for name in (
            "HFValidationError",
            "RepositoryNotFoundError",
            "RevisionNotFoundError",
            "EntryNotFoundError",
            "SomethingElse",
        ):
            setattr(errors, name, type(name, (Exception,), {}))
        # As in the package: what is not in the cache is a kind of what is not there.
        entry = type("LocalEntryNotFoundError", (errors.EntryNotFoundError,), {})
        errors.LocalEntryNotFoundError = entry  # type: ignore[attr-defined] # made here
        package = ModuleType("huggingface_hub")

        def refuse(**_: Any) -> str:
            raise getattr(errors, raised)("refused")

        package.hf_hub_download = refuse  # type: ignore[attr-defined] # as above
        modules = {each.__name__: each for each in (package, errors)}
        monkeypatch.setattr(hub, "import_module", modules.__getitem__)
        done = run("pull", "some/repo", "model.gguf", "--revision", "v1")
        assert 1 == done.exit_code
        assert reason in done.stderr
