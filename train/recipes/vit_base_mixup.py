"""ViT-Base from ImageNet-21k weights with MixUp, as in the thesis.

python -m train vit_base_mixup
"""

import dataclasses

from train.recipes import vit_base

RECIPE = dataclasses.replace(
    vit_base.RECIPE,
    name="vit_base_mixup",
    about="ViT-Base from ImageNet-21k weights with MixUp, as in the thesis",
    expected="better than vit_base in the thesis, which gives no figure; not measured here",
    mixup=0.4,  # fastai's default, which the thesis used
)
