"""ViT-Base with patches of 16 pixels from ImageNet-21k weights, as in the thesis: everything unfrozen at once.

What differs from fastai, which the thesis used: gradients are clipped, the new head is one linear layer, the momentum does not
cycle, and MixUp, where it is on, draws one weight for a batch and not for each picture.

python -m train vit_base
"""

from train.recipe import Recipe

RECIPE = Recipe(
    name="vit_base",
    about="ViT-Base from ImageNet-21k weights, as in the thesis",
    expected="accuracy 0.95, balanced 0.94 in the thesis's table, with or without MixUp; not measured here",
    architecture="vit_base",
    patch_size=16,  # thesis: better than 32
    pretrained="google/vit-base-patch16-224-in21k",
    gpu=True,  # an epoch takes hours on two cores
    image_size=224,  # thesis, and what the weights were trained on
    epochs=15,  # thesis
    batch_size=64,  # thesis: 128 was worse
    optimizer="adamw",  # fastai's default, which the thesis used
    lr=5e-5,  # the thesis does not give its own; this one is usual for fine-tuning a ViT with AdamW
    weight_decay=0.01,  # fastai's default
    max_grad_norm=1.0,  # as ViTs are pretrained and fine-tuned (Dosovitskiy et al. 2021)
)
