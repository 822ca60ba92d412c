"""ViT-Large from ImageNet-21k weights with MixUp and label smoothing: the thesis's best ViT.

python -m train vit_large_mixup_smoothing
"""

import dataclasses

from train.recipes import vit_large_mixup

RECIPE = dataclasses.replace(
    vit_large_mixup.RECIPE,
    name="vit_large_mixup_smoothing",
    about="ViT-Large from ImageNet-21k weights with MixUp and label smoothing, as in the thesis",
    expected="the best ViT of the thesis; not measured here",
    label_smoothing=0.1,  # fastai's default, which the thesis used
)
