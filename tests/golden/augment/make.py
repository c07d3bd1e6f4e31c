"""What Pillow and torchvision make of one drawn picture: python make.py (writes augment.safetensors)

`picture` is the picture, `box/<size>/<filter>/<left>_<top>_<right>_<bottom>` parts of it resized by Pillow's resize(box=...), and
`<op>/<factor>` torchvision's adjust_<op> of it.
"""
import os

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from torchvision.transforms import functional

W, H = 61, 45
r = np.random.default_rng(7)
y, x = np.mgrid[0:H, 0:W]
waves = np.stack([127 + 120 * np.sin(x / (3 + c) + c) * np.cos(y / (4 + c)) for c in range(3)], -1).astype(np.uint8)
# A third of all pixels of any colour at all, some of them gray, black and white.
noise = r.integers(0, 256, (H, W, 3), dtype=np.uint8)
noise[:4] = noise[:4, :, :1]
noise[4, :20], noise[4, 20:40] = 0, 255
array = np.where(r.random((H, W, 1)) < 0.33, noise, waves)
array[:5] = noise[:5]
picture = Image.fromarray(array)
out = {"picture": array}
boxes = [(0, 0, W, H), (5, 3, 55, 40), (10, 20, 17, 26), (0, 0, 61, 9), (0, 0, 8, 45), (30, 10, 61, 45), (2, 2, 34, 34), (1.5, 2.25, 50.75, 44.5)]
for size in (12, 24):
    for name, kernel in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        for box in boxes:
            made = picture.resize((size, size), kernel, box=box)
            out[f"box/{size}/{name}/" + "_".join(str(float(v)) for v in box)] = np.asarray(made)
for op in ("brightness", "contrast", "saturation"):
    for factor in (0.0, 0.37, 1.0, 1.6):
        out[f"{op}/{factor}"] = np.asarray(getattr(functional, f"adjust_{op}")(picture, factor))
for factor in (-0.5, -0.113, 0.0, 0.07, 0.5):
    out[f"hue/{factor}"] = np.asarray(functional.adjust_hue(picture, factor))
save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "augment.safetensors"))
