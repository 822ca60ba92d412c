"""The network that finds white cells: torchvision's FCOS (Tian et al. 2019) on the first layers of EfficientNet-Lite0.

The layers up to stride 16 suffice, since find.py shows every cell at 20 to 110 px; they hold a seventh of the weights.
"""

from collections import OrderedDict
from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork

ARCHITECTURE = "efficientnet_lite0"  # of timm; the padding of tf_efficientnet_lite0 depends on the size of its input
STRIDES = (8, 16)  # pixels between two places of the network's outputs
CHANNELS = 64
MEAN = STD = 0.5  # of its input, which is 0..1 before


class Backbone(nn.Module):
    """(n, 3, h, w) -> {"8": (n, CHANNELS, h / 8, w / 8), "16": ...}; h and w are multiples of 16."""

    out_channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        whole = timm.create_model(ARCHITECTURE)
        self.stem = nn.Sequential(whole.conv_stem, whole.bn1)
        self.fine, self.coarse = whole.blocks[:3], whole.blocks[3:5]
        self.pyramid = FeaturePyramidNetwork([40, 112], CHANNELS)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """See the class."""
        fine = self.fine(self.stem(images))
        return self.pyramid(OrderedDict(zip(map(str, STRIDES), (fine, self.coarse(fine)), strict=True)))


class LocatorNetwork(nn.Module):
    """(n, 3, h, w), normalised -> for each of STRIDES: scores (n, h * w / stride^2) in 0..1 and sides (n, the same, 4).

    The sides are the pixels from a place to the left, upper, right and lower edge of the cell's box.
    """

    def __init__(self) -> None:
        super().__init__()
        anchors = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES))
        head = FCOSHead(CHANNELS, anchors.num_anchors_per_location()[0], num_classes=1, num_convs=2)
        self.fcos = FCOS(Backbone(), num_classes=1, anchor_generator=anchors, head=head)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        found = []
        for stride, features in zip(STRIDES, self.fcos.backbone(images).values(), strict=True):
            logits = self.fcos.head.classification_head([features])
            sides, centredness = self.fcos.head.regression_head([features])
            found += [(logits.sigmoid() * centredness.sigmoid()).sqrt()[..., 0], sides * stride]
        return tuple(found)

    def loss(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Of normalised images (n, 3, s, s) and the boxes (k, 4) in pixels of each: FCOS's three losses, summed."""
        features = list(self.fcos.backbone(images).values())
        sizes = [tuple(images.shape[2:])] * len(images)
        anchors = self.fcos.anchor_generator(ImageList(images, sizes), features)
        targets = [{"boxes": each, "labels": torch.zeros(len(each), dtype=torch.int64)} for each in boxes]
        places = [each.shape[2] * each.shape[3] for each in features]
        losses = self.fcos.compute_loss(targets, self.fcos.head(features), anchors, places)
        return sum(losses.values())
