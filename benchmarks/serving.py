"""From a folder of pictures to the finished table, beside transformers' pipeline on the same weights.

python -m benchmarks.serving [RECIPE|MODEL_FOLDER ...] [--pictures N] [--repeats N]

A recipe's network has random weights, on which the time does not depend. Drawn cells of 360 x 363 pixels as JPEG stand for
pictures. Ours and the pipeline, with one picture at a time (its default) and with the batch that suits it best, take turns,
each time in a process of its own; measured is what comes after the model was loaded and has classified a few. Ours is measured
in 32 bits and in 8, as it is served where its accuracy was found to stand that (python -m train onnx_check).
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks import timing
from cells.classes import LABELS
from cells.model import threads
from cells.model.classifier import Classifier, load_onnx
from cells.model.export import calibrate, export
from cells.model.folder import QUANTIZED_RECORD, may_quantize
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from cells.write import table

DEFAULT = ("resnet18", "vit_base")
BATCHES = (1, 8, 32)  # of the pipeline
WARM_UP = 8  # pictures


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=DEFAULT, metavar="RECIPE|MODEL_FOLDER", help="default resnet18 vit_base")
    parser.add_argument("--pictures", type=int, default=200, metavar="N", help="default %(default)s")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="default %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        pictures = Path(temporary, "pictures")
        draw(pictures, options.pictures)
        for model in options.models:
            print(f"{model}: {options.pictures} pictures, {threads.count()} cores, images/s")
            folder = prepared(model, Path(temporary))
            rates = {batch: timing.alone(pipeline_rate, folder, pictures, batch) for batch in BATCHES}
            best = max(rates, key=rates.get)
            print("pipeline:", ", ".join(f"batch {batch} {rate:.3g}" for batch, rate in rates.items()))
            measures = {name: partial(timing.alone, our_rate, one, pictures) for name, one in forms(folder).items()}
            measures |= {
                f"pipeline, batch {batch}": partial(timing.alone, pipeline_rate, folder, pictures, batch)
                for batch in dict.fromkeys((1, best))
            }
            rates = timing.compare(measures, options.repeats, "images/s")
            if "ours, 32 bits" in rates:
                others = {name: rate for name, rate in rates.items() if not name.startswith("ours")}
                print("\n".join(timing.report({"ours, 32 bits": rates["ours, 32 bits"]} | others, "images/s")))


def draw(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        draw_cell(LABELS[number % len(LABELS)], number).convert("RGB").save(folder / f"{number:04d}.jpg", quality=90)


def prepared(model: str, temporary: Path) -> Path:
    """A model folder with the exported network beside the weights."""
    folder = temporary / Path(model).name
    if Path(model).is_dir():
        shutil.copytree(model, folder)
    else:
        timing.alone(build, model, folder)
    if load_onnx(folder, may_export=True) is None:
        raise SystemExit(f"{folder} cannot be exported here, so there is nothing to compare.")
    return folder


def forms(folder: Path) -> dict[str, Path]:
    """How we may serve a model: as its folder says and, where that is with 8 bits, also with 32."""
    if not may_quantize(folder):
        return {"ours": folder}
    plain = folder.with_name(f"{folder.name}_plain")
    shutil.copytree(folder, plain, ignore=shutil.ignore_patterns(QUANTIZED_RECORD))
    return {"ours, 8 bits": folder, "ours, 32 bits": plain}


def build(name: str, folder: Path) -> None:
    """The recipe's network with random weights, as if 8 bits had been found to be enough."""
    from train import recipe
    from train.network import build
    from train.network import export as export_folder

    chosen = recipe.load(name).override(["pretrained=None", "teacher=None"])
    export_folder(build(chosen), folder)
    if chosen.architecture not in recipe.VITS:
        export(folder)
        calibrate(folder, [draw_cell(label, 0).convert("RGB") for label in LABELS])
    (folder / QUANTIZED_RECORD).write_text(json.dumps({"fall": 0.0}))


def our_rate(folder: Path, pictures: Path) -> float:
    """Images/s."""
    files = list_files(pictures)
    classifier = Classifier.load(folder)
    list(classifier.predict(files[:WARM_UP]))
    start = time.perf_counter()
    review = Review(tuple(map(Cell, classifier.predict(files))), str(classifier))
    table.write_csv(table.to_frame(review), pictures.parent / "ours.csv")
    return len(files) / (time.perf_counter() - start)


def pipeline_rate(folder: Path, pictures: Path, batch: int) -> float:
    """Images/s."""
    from transformers import pipeline

    files = list_files(pictures)
    classify = pipeline("image-classification", model=str(folder), device="cpu")
    classify(files[:WARM_UP], batch_size=batch)
    start = time.perf_counter()
    rows = [{row["label"]: row["score"] for row in answer} for answer in classify(files, batch_size=batch, top_k=len(LABELS))]
    pd.DataFrame(rows, index=files).to_csv(pictures.parent / "pipeline.csv")
    return len(files) / (time.perf_counter() - start)


def list_files(folder: Path) -> Sequence[str]:
    return sorted(map(str, folder.iterdir()))


if __name__ == "__main__":
    main()
