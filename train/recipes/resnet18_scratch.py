"""ResNet18 from nothing, for whoever has only the data.

Measured: test accuracy 0.9864, balanced accuracy 0.9891, one run, 4,293 s of training on two CPU cores that other work shared.

    python -m train resnet18_scratch --split results/split.csv
"""

from train.recipe import Recipe

RECIPE = Recipe(
    name="resnet18_scratch",
    about="ResNet18 from nothing, for whoever has only the data; about 70 minutes on two cores",
    expected="accuracy 0.9864, balanced 0.9891, measured in one run",
    architecture="resnet18",
    image_size=128,  # two cores train on 40 pictures a second of this size
    # Three times as many a second at 64 pixels: most of the learning is done there.
    progressive_resizing=((0.5, 0.5), (0.8, 0.75)),
    epochs=30,  # what 70 minutes allow
    batch_size=64,  # as the thesis has it for the ViTs
    optimizer="sgd",  # the usual one for ResNets from nothing
    lr=0.1,  # the usual one for this batch size
    weight_decay=5e-4,  # the usual one for training from nothing
    label_smoothing=0.1,  # some labels are wrong
    ema_decay=0.995,  # over about an epoch
)
