"""ViT-Base from nothing. Its values are those of ViT-Small where nothing else is said.

python -m train vit_base_scratch --split results/split.csv
"""

import dataclasses

from train.recipes import vit_small_scratch

RECIPE = dataclasses.replace(
    vit_small_scratch.RECIPE,
    name="vit_base_scratch",
    about="ViT-Base from nothing, for whoever has only the data",
    expected="not measured yet",
    architecture="vit_base",
    lr=3e-4,  # larger networks want smaller rates
    drop_path=0.2,  # and more regularisation
)
