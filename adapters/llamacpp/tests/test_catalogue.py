from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from adapters.llamacpp.tests.make_gguf import write_bert
from one_api.adapter import ModelInfo, ModelNotFound, UpstreamError
from one_api_llamacpp.catalogue import DEMO, Catalogue

LOGGER = logging.getLogger("one_api.tests.catalogue")
Write = Callable[..., Path]


def ids(catalogue: Catalogue) -> list[str]:
    return [model.id for model in catalogue.scan().models]


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the catalogue logged; the writer of the test's files logs too."""
    return [record for record in caplog.records if record.name == LOGGER.name]


def test_ids_are_file_stems_in_order(models: Path, write_model: Write) -> None:
    for name in ("qwen3-8b.Q4_K_M", "Llama 3", "phi"):
        write_model(name)
    (models / "README.md").write_text("no model")
    assert ids(Catalogue(models, LOGGER)) == ["Llama 3", "phi", "qwen3-8b.Q4_K_M"]


@pytest.mark.parametrize(
    "name", ["mmproj-f16", ".hidden", "big-00002-of-00003", "big-00003-of-00003"]
)
def test_files_that_are_no_model_by_themselves_are_left_out(
    models: Path, write_model: Write, name: str
) -> None:
    write_model(name)
    write_model("whole")
    assert ids(Catalogue(models, LOGGER)) == ["whole"]


def test_a_model_in_parts_is_one_and_needs_them_all(models: Path, write_model: Write) -> None:
    names = [f"big-0000{number}-of-00003" for number in (1, 2, 3)]
    paths = [write_model(name) for name in names]
    catalogue = Catalogue(models, LOGGER)
    (big,) = catalogue.scan().models
    assert (names[0], paths[0]) == (big.id, big.path)
    assert big.size_bytes == sum(path.stat().st_size for path in paths)
    assert big.parameters == 3 * big.header.parameters > 0
    paths[2].unlink()
    assert {names[0]: "its part 3 of 3 is missing"} == catalogue.scan().refused


@pytest.mark.parametrize(("architecture", "kind"), [("clip", "model"), ("llama", "adapter")])
def test_image_encoders_and_adapters_are_known_by_their_header(
    models: Path, architecture: str, kind: str
) -> None:
    writer = gguf.GGUFWriter(models / "other.gguf", architecture)
    writer.add_type(kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert ids(Catalogue(models, LOGGER)) == []


def test_info_has_name_time_and_the_smaller_context(models: Path, write_model: Write) -> None:
    os.utime(write_model("small", context=300), (1000, 1000))
    (small,) = Catalogue(models, LOGGER).scan().models
    assert small.to_info(8192) == ModelInfo(
        id="small",
        owned_by="local",
        created=1000,
        display_name="small",
        context_window=300,
        details=small.to_info(300).details,
    )
    assert small.to_info(256).context_window == 256


def test_details_tell_what_the_model_is(models: Path, write_model: Write) -> None:
    write_model("talker", context=300, template=None)
    write_bert(models / "embedder.gguf", ["red"])
    embedder, talker = Catalogue(models, LOGGER).scan().models
    details = talker.to_info(8192).details
    assert {
        "kind": "chat",
        "architecture": "llama",
        "parameters": talker.header.parameters,
        "quantization": "F32",
        "trained_context": 300,
        "size_bytes": talker.path.stat().st_size,
        "has_chat_template": False,
    } == details
    assert ("embedding", "bert") == tuple(
        embedder.to_info(8192).details[key] for key in ("kind", "architecture")
    )


def test_a_missing_directory_has_no_models_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = Catalogue(tmp_path / "nowhere", LOGGER)
    assert [] == ids(catalogue) == ids(catalogue)
    (record,) = told(caplog)
    assert record.levelname == "WARNING"
    assert "LOCAL_MODELS_DIR" in record.message
    assert "No such file or directory" in record.message


def test_a_directory_that_appears_later_is_found(tmp_path: Path, write_model: Write) -> None:
    late = tmp_path / "late"
    catalogue = Catalogue(late, LOGGER)
    assert ids(catalogue) == []
    late.mkdir()
    write_model("one").rename(late / "one.gguf")
    assert ids(catalogue) == ["one"]


def test_links_may_point_about_inside_the_directory_only(
    tmp_path: Path, models: Path, write_model: Write, caplog: pytest.LogCaptureFixture
) -> None:
    outside = write_model("secret").rename(tmp_path / "secret.gguf")
    inside = write_model("real")
    (models / "alias.gguf").symlink_to(inside)
    (models / "escape.gguf").symlink_to(outside)
    (models / "dotted.gguf").symlink_to(Path("..") / "secret.gguf")
    (models / "dangling.gguf").symlink_to(models / "gone.gguf")
    catalogue = Catalogue(models, LOGGER)
    assert ["alias", "real"] == ids(catalogue) == ids(catalogue)
    assert [record.message for record in told(caplog)] == [
        "Ignoring local model file 'dangling.gguf': No such file or directory",
        "Ignoring local model file 'dotted.gguf': it is a link that leads out of the directory",
        "Ignoring local model file 'escape.gguf': it is a link that leads out of the directory",
    ]


def test_the_directory_itself_may_be_a_link(tmp_path: Path, write_model: Write) -> None:
    write_model("one")
    (tmp_path / "link").symlink_to(tmp_path / "models")
    assert ids(Catalogue(tmp_path / "link", LOGGER)) == ["one"]


def test_a_damaged_file_is_told_once_and_listed_when_it_is_whole(
    models: Path, write_model: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_model("coming")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    catalogue = Catalogue(models, LOGGER)
    assert [] == ids(catalogue) == ids(catalogue)
    (record,) = told(caplog)
    assert f"'coming.gguf': it is cut off: {len(whole) - 1000} bytes of {len(whole)}" in (
        record.message
    )
    path.write_bytes(whole)
    assert ids(catalogue) == ["coming"]


def test_what_is_no_regular_file_is_never_opened(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(models / "pipe.gguf")
    (models / "directory.gguf").mkdir()
    assert ids(Catalogue(models, LOGGER)) == []
    assert sum("not a regular file" in record.message for record in told(caplog)) == 2


@pytest.mark.parametrize(
    "model_id",
    ["../models/one", "one.gguf", "./one", "/etc/passwd", "", "one\0", "ONE"],
)
def test_an_id_is_looked_up_never_turned_into_a_path(
    models: Path, write_model: Write, model_id: str
) -> None:
    write_model("one")
    catalogue = Catalogue(models, LOGGER)
    assert "one" == catalogue.find("one").id
    with pytest.raises(ModelNotFound):
        catalogue.find(model_id)


def test_who_asks_for_a_damaged_file_is_told_why(models: Path, write_model: Write) -> None:
    path = write_model("coming")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UpstreamError, match="'coming' cannot be used: it is cut off: ") as caught:
        Catalogue(models, LOGGER).find("coming")
    assert str(models) not in caught.value.message


class TestDemo:
    def test_it_is_served_as_long_as_there_is_no_other(
        self, tmp_path: Path, write_model: Write, caplog: pytest.LogCaptureFixture
    ) -> None:
        later = tmp_path / "later"
        catalogue = Catalogue(later, LOGGER, demo=DEMO, is_needed=False)
        with caplog.at_level(logging.INFO, LOGGER.name):
            assert ["tiny-chat"] == ids(catalogue) == ids(catalogue)
        (record,) = told(caplog)
        assert ("INFO", True) == (record.levelname, "'tiny-chat' is served" in record.message)
        assert DEMO == catalogue.find("tiny-chat").path
        later.mkdir()
        assert ["tiny-chat"] == ids(catalogue)
        write_model("one").rename(later / "one.gguf")
        assert ["one"] == ids(catalogue)
        with pytest.raises(ModelNotFound):
            catalogue.find("tiny-chat")

    def test_it_is_a_chat_model_that_knows_tools_and_weighs_little(self) -> None:
        demo = Catalogue(DEMO.parent, LOGGER).find("tiny-chat")
        assert "tools" in (demo.header.chat_template or "")
        assert not demo.header.is_embedding
        assert "Q8_0" == demo.header.quantisation
        assert demo.size_bytes < 1_300_000
