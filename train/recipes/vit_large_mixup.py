"""ViT-Large from ImageNet-21k weights with MixUp, as in the thesis.

python -m train vit_large_mixup
"""

import dataclasses

from train.recipes import vit_large

RECIPE = dataclasses.replace(
    vit_large.RECIPE,
    name="vit_large_mixup",
    about="ViT-Large from ImageNet-21k weights with MixUp, as in the thesis",
    expected="better than vit_large in the thesis, which gives no figure; not measured here",
    mixup=0.4,  # fastai's default, which the thesis used
)
