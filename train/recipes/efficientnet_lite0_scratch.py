"""EfficientNet-Lite0 from nothing, on PBC alone: the default's network beside the others of the study.

python -m train efficientnet_lite0_scratch --split results/split.csv
"""

import dataclasses

from train.recipes import resnet18_scratch

RECIPE = dataclasses.replace(
    resnet18_scratch.RECIPE,
    name="efficientnet_lite0_scratch",
    about="EfficientNet-Lite0 from nothing, on PBC alone",
    expected="not measured yet",
    architecture="tf_efficientnet_lite0",  # its other values are those of ResNet18, so that the two compare
)
