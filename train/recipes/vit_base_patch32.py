"""ViT-Base with patches of 32 pixels from ImageNet-21k weights: what the thesis tried first, and dropped.

python -m train vit_base_patch32
"""

import dataclasses

from train.recipes import vit_base

RECIPE = dataclasses.replace(
    vit_base.RECIPE,
    name="vit_base_patch32",
    about="ViT-Base with patches of 32 pixels from ImageNet-21k weights, as in the thesis",
    expected="worse than vit_base in the thesis, which gives no figure; not measured here",
    patch_size=32,
    pretrained="google/vit-base-patch32-224-in21k",
)
