"""ViT-Large from nothing. Its values are those of ViT-Base where nothing else is said.

python -m train vit_large_scratch --split results/split.csv
"""

import dataclasses

from train.recipes import vit_base_scratch

RECIPE = dataclasses.replace(
    vit_base_scratch.RECIPE,
    name="vit_large_scratch",
    about="ViT-Large from nothing, for whoever has only the data",
    expected="not measured yet",
    architecture="vit_large",
    lr=2e-4,
    drop_path=0.3,
    gradient_accumulation_steps=2,  # 64 pictures at once take more memory than many GPUs have
)
