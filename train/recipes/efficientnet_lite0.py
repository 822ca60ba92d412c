"""EfficientNet-Lite0 from ImageNet weights: a fifth of ResNet18's multiplications, made for 8 bits.

Not measured here yet.

    python -m train efficientnet_lite0 --split results/split.csv
"""

from train.recipe import Recipe

RECIPE = Recipe(
    name="efficientnet_lite0",
    about="EfficientNet-Lite0 from ImageNet weights, made for 8 bits",
    expected="not measured yet",
    architecture="tf_efficientnet_lite0",
    pretrained="timm/tf_efficientnet_lite0.in1k",
    image_size=160,
    progressive_resizing=((0.5, 0.6), (0.8, 0.8)),  # most of the learning is done where a picture costs less
    epochs=12,
    batch_size=64,
    optimizer="adamw",
    lr=6e-3,  # of the new head
    lr_first=1.2e-3,  # what the first layers know of edges and colours is kept
    weight_decay=0.01,
    label_smoothing=0.05,  # some labels are wrong
    ema_decay=0.995,  # over about an epoch
)
