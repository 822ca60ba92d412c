"""ResNet34 from nothing, for whoever has only the data.

python -m train resnet34_scratch --split results/split.csv
"""

from train.recipe import Recipe

RECIPE = Recipe(
    name="resnet34_scratch",
    about="ResNet34 from nothing, for whoever has only the data",
    expected="accuracy 0.9812, balanced 0.9826, measured in one run",
    architecture="resnet34",
    image_size=128,  # as resnet18_scratch, so that the two compare
    # Three times as many a second at 64 pixels: most of the learning is done there.
    progressive_resizing=((0.6, 0.5), (0.85, 0.75)),
    epochs=18,  # each costs twice what one of ResNet18 does; more take too long on two cores
    batch_size=64,  # the rest as in resnet18_scratch
    optimizer="sgd",
    lr=0.1,
    weight_decay=5e-4,
    label_smoothing=0.1,
    ema_decay=0.995,
)
