from __future__ import annotations

from pathlib import Path

import pytest

from pumice.errors import CheckpointError
from pumice.world import embedded
from pumice.world.embedded import names, resolve


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships three models, and a folder that is none."""
    for name in ("clip-tiny", "lm-tiny", "tiny"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "half").mkdir()
    monkeypatch.setattr(embedded, "PARTS", tmp_path)
    return tmp_path


def test_names_are_those_of_whole_models(shipped: Path) -> None:
    assert names() == ("embedded:clip-tiny", "embedded:lm-tiny", "embedded:tiny", "tiny")


def test_names_lead_to_folders(shipped: Path) -> None:
    for name in names():
        assert resolve(name) == shipped / name.removeprefix("embedded:")


def test_a_path_is_itself(shipped: Path, tmp_path: Path) -> None:
    assert resolve(str(tmp_path / "half")) == tmp_path / "half"


def test_a_name_that_is_almost_right_is_helped(shipped: Path) -> None:
    with pytest.raises(CheckpointError, match="no model named 'embedded:clip-tyni'") as caught:
        resolve("embedded:clip-tyni")
    assert "did you mean 'embedded:clip-tiny'?" in str(caught.value)


def test_each_model_that_ships_is_listed_once_with_what_it_is() -> None:
    with pytest.raises(CheckpointError) as caught:
        resolve("nosuch")
    listing = str(caught.value.remedy).partition("choose one of: ")[2]
    assert listing == (
        "embedded:clip-tiny (a vision tower to train with), "
        "embedded:lm-tiny (a language model to train with), tiny (a finished model to ask and measure)"
    )
    assert len(names()) == 4, "every model that ships stands in the list"


@pytest.mark.parametrize(
    "name", ["embedded:", "embedded:..", "embedded:../tiny", "embedded:half", "embedded:/"]
)
def test_a_name_never_leads_elsewhere(shipped: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="no model named"):
        resolve(name)


def test_a_folder_that_is_not_there_is_no_shipped_model(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shipped)
    with pytest.raises(CheckpointError, match="there is no folder 'lm-tinny'") as caught:
        resolve("lm-tinny")
    assert "did you mean 'embedded:lm-tiny'?" in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        resolve("tnyi")
    assert "did you mean 'tiny'?" in str(caught.value)
    assert resolve("lm-tiny") == Path("lm-tiny"), "without the prefix it is a folder like any other"


def test_the_finished_model_needs_no_prefix_even_beside_a_folder_of_its_name(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "tiny").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert resolve("tiny") == shipped / "tiny"
    assert resolve("./tiny") == Path("./tiny")


def test_a_package_without_models_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "PARTS", tmp_path / "absent")
    assert names() == ()
    with pytest.raises(CheckpointError):
        resolve("tiny")
