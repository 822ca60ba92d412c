"""DinoBloom-S (Koch et al. 2024), fine-tuned; what it has seen is said in dinobloom_small_frozen.py.

python -m train dinobloom_small --split results/split.csv
"""

import dataclasses

from train.recipes import dinobloom_small_frozen

RECIPE = dataclasses.replace(
    dinobloom_small_frozen.RECIPE,
    name="dinobloom_small",
    about="DinoBloom-S, the foundation model of haematology, fine-tuned",
    freeze_epochs=2,  # the head is new: first it alone
    lr=1e-4,  # of the head; the usual one for fine-tuning a small ViT
    lr_first=1e-5,  # what the first layers know of cells is kept
    weight_decay=0.05,
    max_grad_norm=1.0,
    label_smoothing=0.1,  # some labels are wrong
)
