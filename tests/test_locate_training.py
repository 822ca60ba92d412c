"""Training of the network that finds white cells, on drawn fields: readers, crops, a run that carries on, its measures."""

import csv
import json

import datasets
import numpy as np
import pytest
import torch
from locating import field as discs
from PIL import Image
from safetensors.torch import load_file
from test_sources import png, write

from cells.locate.find import Box, Locator, prepared, white_balance
from cells.locate.network import LocatorNetwork
from cells.pbc import DataError
from cells.synthetic import draw_cell
from train.__main__ import main
from train.locate import crops, evaluation, fields, run
from train.locate.fields import Field
from train.sources import raabin

BOX = [180 - 60, 181 - 60, 180 + 60, 181 + 60]  # of a drawn cell, about


def drawn(number: int, source: str = "raabin") -> Field:
    return Field(source, str(number), str(number), np.asarray(draw_cell("neutrophil", number)), np.array([BOX], float))


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> list[str]:
    """Arguments of --data and --split: ten fields of raabin, PBC's boxes as a CSV with its pictures, and a split."""
    folder = tmp_path_factory.mktemp("fields")
    pictures = [png(draw_cell("monocyte", seed)) for seed in range(10)]
    names = [f"MO_{number}" for number in range(10)]
    cells = write({"image_id": names, "image": pictures, "boxes": [[BOX]] * 10}, folder / "raabin.parquet")
    columns = {"image_id": names, "image": pictures, "cell_type": ["monocyte"] * 10, "cell_subtype": [""] * 10}
    pbc = write(columns, folder / "pbc.parquet")
    with (folder / "boxes.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(("image_id", "x_centre", "y_centre", "width", "height"))
        rows.writerows((name, 0.5, 0.5, 1 / 3, 1 / 3) for name in names)
    with (folder / "split.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(("image_id", "split"))
        rows.writerows((name, "test" if number == 9 else "train") for number, name in enumerate(names))
    data = [f"raabin={cells}", f"pbc={folder / 'boxes.csv'}", f"pbc={pbc}"]
    return ["--data", *data, "--split", str(folder / "split.csv"), "--batch-size", "2"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """No ImageNet weights, which are a package of their own, and small crops."""
    monkeypatch.setattr(run, "_load_imagenet", lambda network: None)
    monkeypatch.setattr(run, "EVERY_PBC", 1)
    monkeypatch.setattr(crops, "SIDE", 128)


def test_a_killed_run_carries_on_to_the_same_weights_and_writes_its_model(places, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SAVE_EVERY", 1)
    with monkeypatch.context() as patched:  # the export takes the longest
        patched.setattr(run.finalize, "_to_onnx", lambda *arguments: None)
        patched.setattr(run.evaluation, "measure", lambda *arguments: None)
        assert main(["locate", *places, "--steps", "3", "--out", str(tmp_path / "whole")]) == 0
    step = run._train_step
    calls = []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(run, "_train_step", stopping)
        assert main(["locate", *places, "--steps", "3", "--out", str(tmp_path / "cut")]) == 130
    assert main(["locate", *places, "--steps", "3", "--out", str(tmp_path / "cut")]) == 0
    whole, cut = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    history = (tmp_path / "cut" / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["step", "1", "2", "3"]
    assert (tmp_path / "cut" / "metrics.csv").read_text().startswith("source,fields,cells,recall,precision,ap,ap_50")


def test_training_changes_the_weights_and_keeps_the_statistics_that_the_network_came_with(places, tmp_path):
    arguments = run.parser().parse_args([*places, "--out", str(tmp_path)])
    trained = run.fit(run.Recipe(steps=2, batch_size=2), run.fields_of(arguments)[0], tmp_path).state_dict()
    started = run.State(run.Recipe(), tmp_path / "new").network.state_dict()
    statistics = [name for name in started if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert all(torch.equal(trained[name], started[name]) for name in statistics)
    assert not torch.equal(trained["fcos.backbone.stem.0.weight"], started["fcos.backbone.stem.0.weight"])


def test_a_run_is_not_carried_on_with_another_recipe(places, tmp_path, capsys):
    (tmp_path / "recipe.json").write_text(json.dumps({"steps": 7}))
    assert main(["locate", *places, "--steps", "3", "--out", str(tmp_path)]) == 2
    assert "is a run with another" in capsys.readouterr().err


def test_the_exported_network_answers_as_that_in_pytorch_at_every_size(tmp_path):
    from train.locate import finalize

    torch.manual_seed(0)
    network = LocatorNetwork().eval()
    finalize.write(network, tmp_path, [np.asarray(draw_cell("ig", seed)) for seed in range(3)])
    locator = Locator.load(tmp_path)
    for size in ((64, 64), (96, 160)):
        pixels = torch.rand(1, 3, *size) * 2 - 1
        with torch.inference_mode():
            expected = network(pixels)
        found = locator.network(pixels.numpy())
        assert [one.shape for one in found] == [tuple(one.shape) for one in expected]
        assert np.abs(found[0] - expected[0].numpy()).max() < 0.05  # 8 bits


def test_the_network_learns_where_a_cell_is():
    torch.manual_seed(0)
    network = LocatorNetwork().train()
    picture = torch.from_numpy(np.asarray(discs((128, 128), (60, 70, 50))) / 127.5 - 1).permute(2, 0, 1)[None].float()
    boxes = [torch.tensor([[35.0, 45.0, 85.0, 95.0]])]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        network.loss(picture, boxes).backward()
        optimizer.step()
    with torch.inference_mode():
        scores, sides, *_ = network(picture)
    best = int(scores[0].argmax())
    x, y = best % 16 * 8, best // 16 * 8
    box = [x - sides[0, best, 0], y - sides[0, best, 1], x + sides[0, best, 2], y + sides[0, best, 3]]
    assert box == pytest.approx(boxes[0][0].tolist(), abs=6)


def test_crops_depend_on_the_seed_and_the_step_alone_and_their_boxes_lie_inside():
    own = {"raabin": [drawn(number).shrunk() for number in range(4)]}
    made = [crops.Crops(own, {"raabin": 1.0}, own["raabin"], frozenset(own), 8, seed=1) for _ in range(2)]
    (images, boxes), (again, _), (other, _) = made[0].at(5), made[1].at(5), made[1].at(6)
    assert images.shape == (8, 3, crops.SIDE, crops.SIDE)
    assert torch.equal(images, again)
    assert not torch.equal(images, other)
    assert any(len(each) for each in boxes)
    assert all(((each >= 0) & (each <= crops.SIDE)).all() and (each[:, 2:] > each[:, :2]).all() for each in boxes)


def test_crops_are_as_white_as_the_pictures_that_are_searched():
    for light in (1, 0.5, (0.4, 0.6, 0.8)):
        pixels = (np.asarray(discs((96, 96), (40, 50, 30))) * light).astype(np.uint8)
        searched = (prepared(pixels, white_balance(Image.fromarray(pixels)))[0] + 1) / 2
        learnt = crops.balanced(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0]
        assert np.abs(searched - learnt.numpy()).max() < 0.02


def test_a_turned_crop_keeps_its_box_on_the_cell():
    image = np.asarray(discs((crops.SIDE, crops.SIDE), (60, 100, 40)))
    box = np.array([[40.0, 80.0, 80.0, 120.0]])
    for seed in range(20):
        turned, [found] = crops.turned(image, box, np.random.default_rng(seed))
        dark = np.argwhere(turned[:, :, 1] < 128)[:, ::-1]
        assert np.abs(np.concatenate([dark.min(0), dark.max(0)]) - found).max() <= 2


def test_a_pasted_cell_has_a_box_around_it():
    ground = np.full((crops.SIDE, crops.SIDE, 3), 230, np.uint8)
    cell = Field("jhu", "a", "a", np.asarray(discs((200, 200), (100, 100, 60))), np.array([[70.0, 70, 130, 130]]))
    image, boxes = crops.paste(ground, np.array([[100.0, 100, 160, 160]]), [cell], 60, np.random.default_rng(3))
    assert len(boxes) > 1
    for box in crops.visible(boxes[1:]).round().astype(int):
        assert (image[box[1] : box[3], box[0] : box[2], 1] < 128).mean() > 0.3


def test_red_cells_of_another_crop_darken_a_crop_and_its_white_cells_do_not():
    image, other = (np.full((crops.SIDE, crops.SIDE, 3), 200, np.uint8) for _ in range(2))
    other[10:30, 10:30] = 100  # a red cell, half as light as the ground
    other[60:80, 60:80] = 20  # a white cell
    found = crops.overlaid(image, other, np.array([[59.6, 60.4, 80.2, 80.0]]))
    assert (found[10:30, 10:30] == 100).all()
    assert (found[60:80, 60:80] == 200).all()
    assert (found == 200).mean() == 1 - 400 / crops.SIDE**2


def test_a_held_out_laboratory_is_measured_and_not_learnt_from(places):
    arguments = [*places, "--without", "raabin", "--out", "run"]
    training, validation = run.fields_of(run.parser().parse_args(arguments))
    assert set(training) == {"pbc"}
    assert {field.source for field in validation} == {"raabin"}
    assert len(validation) == 10


def test_raabin_is_read_from_the_clone(tmp_path):
    names = ("00dae381-fd8c-5369-ab10-be3e7ef84b2b", "BA_100102")
    for name in names:
        for folder, suffix in (("images", "jpg"), ("labels", "txt")):
            (tmp_path / "TXL_PBC" / folder / "val").mkdir(parents=True, exist_ok=True)
            file = tmp_path / "TXL_PBC" / folder / "val" / f"{name}.{suffix}"
            if suffix == "jpg":
                Image.new("RGB", (200, 100)).save(file)
            else:
                file.write_text("0 0.5 0.5 0.2 0.4\n1 0.1 0.1 0.1 0.1\n")
    rows = raabin.fields([str(tmp_path)])
    assert rows["image_id"][:] == [names[0]]
    assert rows["boxes"][0] == [[80.0, 30.0, 120.0, 70.0]]


@pytest.mark.parametrize("argument", ["nowhere", "lab=x", "chula="])
def test_a_place_without_a_known_source_is_refused(argument):
    with pytest.raises(DataError, match="SOURCE=PLACE"):
        fields.places_of([argument])


def test_a_hit_has_its_centre_in_the_labelled_box_and_each_label_is_hit_once():
    field = Field(
        "raabin", "a", "a", np.zeros((400, 400, 3), np.uint8), np.array([[100.0, 100, 200, 200], [300, 300, 350, 350]])
    )
    found = [Box(90, 90, 210, 210, 0.9), Box(110, 110, 190, 190, 0.8), Box(0, 0, 40, 40, 0.3)]
    rows = evaluation.rows_of(field, found)
    assert [(row["labelled"], row["score"]) for row in rows] == [(True, 0.9), (False, 0.8), (False, 0.3), (True, 0.0)]
    import pandas as pd

    scores = evaluation.scores(pd.DataFrame(rows), 0.5)
    assert (scores["recall"], scores["precision"]) == (0.5, 0.5)


def test_missing_boxes_are_added_to_chulas_own(tmp_path):
    with fields.MISSING_BOXES.open() as file:
        first = next(csv.DictReader(file))
    columns = {"image_id": [first["image_id"]], "slide": ["s"], "image": [png(draw_cell("ig"))]}
    parquet = tmp_path / "chula.parquet"
    datasets.Dataset.from_dict(columns | {"boxes": [[BOX]], "cell_types": [["ig"]]}).to_parquet(parquet)
    [field] = fields.read("chula", [str(parquet)])
    assert field.boxes[0].tolist() == BOX
    assert field.boxes[1].tolist() == [float(first[name]) for name in ("x0", "y0", "x1", "y1")]
