"""ViT-Large with patches of 16 pixels from ImageNet-21k weights, as in the thesis.

python -m train vit_large
"""

import dataclasses

from train.recipes import vit_base

RECIPE = dataclasses.replace(
    vit_base.RECIPE,
    name="vit_large",
    about="ViT-Large from ImageNet-21k weights, as in the thesis",
    expected="accuracy 0.96, balanced 0.95 in the thesis's table, with or without MixUp; not measured here",
    architecture="vit_large",
    pretrained="google/vit-large-patch16-224-in21k",
    epochs=15,  # thesis: 50 gave nothing more
    lr=2e-5,  # larger networks want smaller rates
)
