"""ResNet34 from ImageNet weights, trained as in the thesis; what differs is said in resnet18.py.

python -m train resnet34
"""

import dataclasses

from train.recipes import resnet18

RECIPE = dataclasses.replace(
    resnet18.RECIPE,
    name="resnet34",
    about="ResNet34 from ImageNet weights, as in the thesis",
    expected="accuracy 0.99, balanced 0.99 in the thesis, on its split; not measured here",
    architecture="resnet34",
    pretrained="timm/resnet34.a1_in1k",
    lr=2e-4,  # thesis, found by a learning-rate range test; the rest is as for ResNet18
)
