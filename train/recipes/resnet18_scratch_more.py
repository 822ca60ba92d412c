"""A second cycle at the full size, on the weights that resnet18_scratch leaves: that one ends before it has learnt all it can.

python -m train resnet18_scratch
python -m train resnet18_scratch_more
"""

import dataclasses

from train.recipes.resnet18_scratch import RECIPE as FIRST

RECIPE = dataclasses.replace(
    FIRST,
    name="resnet18_scratch_more",
    about="a second cycle after resnet18_scratch, whose run is to lie in runs/: 20 minutes on two cores",
    pretrained="runs/resnet18_scratch/model",
    growth=(),  # the pictures are at their full size from the start
    epochs=4,
    lr=0.03,  # a third of the first cycle's: refine, do not start again
)
