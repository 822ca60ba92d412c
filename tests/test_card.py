"""A model's card: what it is made from, and what of a published one stays when it is made again."""

import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml

from cells.classes import LABELS, describe
from cells.model import folder
from hub import card, publish
from hub.__main__ import main
from hub.messages import HubError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "models" / "resnet18"
OURS = (FOLDER / "README.md").read_text()
OTHERS = (ROOT / "models" / "efficientnet_lite0" / "README.md").read_text()  # learnt from pictures under several licences
VIT = (ROOT / "models" / "vit_tiny" / "README.md").read_text()


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---")[1])


def test_cards_merge():
    ours = (FOLDER / "README.md").read_text()
    assert card.merge(None, ours) == ours
    assert card.merge(ours, ours) == ours
    assert not card.is_edited(ours)
    bare = card.merge("# Mine\n", ours)
    assert bare.endswith("# Mine\n")
    assert "model-index:" in bare


def test_a_card_says_the_classes_as_the_model_folder_names_them(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "own", ignore=shutil.ignore_patterns("onnx"))
    own = [replace(each, english="clotting cell") if each.name == "platelet" else each for each in describe(LABELS)]
    folder.write_classes(tmp_path / "own", own)
    text = card.text_of(tmp_path / "own")
    assert "| clotting cell |" in text
    assert "| basophil |" in text
    assert "| platelet |" not in text


@pytest.mark.parametrize(("published", "ours"), [(OURS, OTHERS), (OTHERS, OURS), (VIT, OTHERS), (OTHERS, VIT)])
def test_the_card_of_new_weights_has_their_licence_library_and_dataset(published, ours):
    merged = front(card.merge(published, ours))
    for key in (*card.LICENCE, "library_name", "datasets"):
        assert merged.get(key) == front(ours).get(key), key


def test_a_card_that_mixes_two_licences_is_put_right():
    mixed = OURS.replace("license: cc-by-4.0", "license: cc-by-4.0\nlicense_name: see-card")
    merged = front(card.merge(mixed, OURS))
    assert (merged["license"], merged.get("license_name")) == ("cc-by-4.0", None)


@pytest.mark.parametrize("licence", [
    {"license": "cc-by-nc-4.0"},
    {"license": ["mit", "cc-by-4.0"]},
    {"license": "other", "license_name": "of-our-hospital", "license_link": "LICENCE.md"},
])  # fmt: skip
def test_a_licence_that_a_person_chose_stays(licence):
    published = OURS.replace("license: cc-by-4.0\n", yaml.safe_dump(licence))
    merged = front(card.merge(published, OTHERS))
    assert {key: merged[key] for key in card.LICENCE if key in merged} == licence


@pytest.fixture
def copied(tmp_path) -> Path:
    """A model folder that a test may change."""
    return shutil.copytree(FOLDER, tmp_path / "resnet18", ignore=shutil.ignore_patterns("onnx"))


def test_a_persons_words_on_a_local_card_stay_and_go_along(copied, capsys):
    stale = OURS.replace("value: 0.9864", "value: 0.5")
    (copied / "README.md").write_text(f"{stale}\n## Our experience\n\nIt works.\n")
    assert main(["card", str(copied)]) == 0
    text = (copied / "README.md").read_text()
    assert text == f"{OURS}\n## Our experience\n\nIt works.\n"
    assert publish.model(copied).readme == text
    assert "edited" not in capsys.readouterr().out


def test_a_local_card_that_a_person_edited_stays_and_it_says_so(copied, capsys):
    edited = OURS.replace("## Limits", "## What it cannot do")
    (copied / "README.md").write_text(edited)
    assert main(["card", str(copied)]) == 0
    assert "A person edited the card" in capsys.readouterr().out
    assert (copied / "README.md").read_text() == publish.model(copied).readme == edited


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"test": []}'])
@pytest.mark.parametrize("call", [["card"], ["push", "user/cells", "--dry-run"]], ids=" ".join)
def test_a_broken_or_foreign_metrics_file_is_one_line(call, content, copied, capsys):
    (copied / "metrics.json").write_text(content)
    assert main([call[0], str(copied), *call[1:]]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {copied}: one of its files is damaged")
    assert error.count("\n") == 1


def test_cut_off_weights_are_one_line_before_anything_is_sent(copied, monkeypatch, capsys):
    monkeypatch.setattr(publish, "publish", None)
    (copied / "model.safetensors").write_bytes((FOLDER / "model.safetensors").read_bytes()[:100_000])
    assert main(["push", str(copied), "user/cells"]) == 2
    error = capsys.readouterr().err
    assert "a .safetensors file of it is damaged or cut off" in error
    assert error.count("\n") == 1


def test_a_published_card_with_broken_figures_gets_ours():
    for broken in ("5", "[5]", "[{name: a, results: 5}]"):
        assert front(card.merge(f"---\nmodel-index: {broken}\n---\n", OURS)) == front(OURS)


@pytest.mark.parametrize("broken", ["a: b: c", "[1, 2]", "5: a", "- a\nb"])
def test_a_published_card_with_broken_metadata_is_one_line(broken):
    with pytest.raises(HubError, match=r"^user/cells/README\.md: its front matter cannot be read \(.*\); correct it") as raised:
        card.merge(f"---\n{broken}\n---\n# Mine\n", OURS, "user/cells/README.md")
    assert "\n" not in str(raised.value)


def test_a_dry_run_says_that_the_network_is_exported_later(copied, capsys):
    assert main(["push", str(copied), "user/cells", "--dry-run"]) == 0
    assert f"{copied}: not listed are the ONNX files, which are exported before the upload.\n" in capsys.readouterr().out
    assert not (copied / "onnx").exists()


def test_a_folder_that_may_not_be_written_is_one_line(copied, monkeypatch, capsys):
    monkeypatch.setattr(Path, "write_text", Mock(side_effect=PermissionError(13, "Permission denied")))
    assert main(["card", str(copied)]) == 2
    assert capsys.readouterr().err == f"error: {copied}: Permission denied.\n"


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, "pull", stop)
    assert main(["pull", "user/cells"]) == 130
    assert capsys.readouterr().err == "stopped.\n"


def test_local_words_are_published_unless_the_published_card_has_its_own():
    local, published = f"{OURS}\nOurs.\n", f"{OURS}\nTheirs.\n"
    assert card.merge(OURS, local) == local
    assert card.merge("", local) == local
    assert card.merge(published, local) == card.merge(published, OURS) == published
    unmarked = card.merge("# Mine\n", OURS)
    assert card.merge(OURS, unmarked).endswith("---\n# Mine\n")
    assert card.merge(published, unmarked) == published
