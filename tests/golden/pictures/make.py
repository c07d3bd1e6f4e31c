"""More pictures than ../preprocess has, and what Pillow makes of them: python make.py OUT_DIR

Writes small files of every kind that the decoder promises to read, and pictures.safetensors with, per file, `<file>/rgb`.
"""
import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file


def picture(w, h, seed, channels=3):
    y, x = np.mgrid[0:h, 0:w]
    planes = [127 + 120 * np.sin(x / (4 + c) + seed) * np.cos(y / (6 + c)) for c in range(channels)]
    return np.stack(planes, -1).astype(np.uint8)


def upright_rgb(path):
    im = ImageOps.exif_transpose(Image.open(path))
    if im.mode.startswith("I"):
        im = Image.fromarray((np.asarray(im).astype(np.uint16) >> 8).astype(np.uint8))
    if im.mode in ("RGBA", "LA", "PA") or "transparency" in im.info:
        im = im.convert("RGBA")
        im = Image.alpha_composite(Image.new("RGBA", im.size, (255, 255, 255, 255)), im)
    return im.convert("RGB")


def png16(path, samples, colour):
    """A 16-bit PNG, which Pillow cannot write: `samples` [h, w, channels] of u16."""
    h, w, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 16, colour, 0, 0, 0)))
        f.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main(out):
    save = lambda name, im, **kw: im.save(os.path.join(out, name), **kw)
    at = lambda name: os.path.join(out, name)
    rgb, rgba = Image.fromarray(picture(47, 33, 1)), Image.fromarray(picture(40, 30, 2, 4))
    exif = Image.Exif()
    exif[274] = 8
    save("la.png", rgba.convert("LA"))
    save("bilevel.png", rgb.convert("1"))
    save("gray_transparent.png", rgb.convert("L"), transparency=100)
    save("rgb_transparent.png", Image.fromarray(picture(47, 33, 1) // 64 * 64), transparency=(64, 64, 128))
    save("palette_transparent.png", rgb.quantize(16), transparency=bytes(range(0, 256, 16)))
    save("exif8.png", rgb, exif=exif)
    wide = np.random.default_rng(3).integers(0, 65536, (20, 30, 4)).astype(np.uint16)
    png16(at("rgb16.png"), wide[..., :3], 2)
    png16(at("rgba16.png"), wide, 6)
    png16(at("la16.png"), wide[..., 2:], 4)
    every = np.stack([np.tile(np.arange(256), (256, 1)), np.tile(np.arange(256)[:, None], (1, 256))], -1).astype(np.uint8)
    save("every_alpha.png", Image.fromarray(every, "LA"))
    save("cmyk.jpg", rgb.convert("CMYK"), quality=90)
    save("full_chroma.jpg", rgb, quality=90, subsampling=0)
    save("half_chroma.jpg", rgb, quality=90, subsampling=1)
    save("restarts.jpg", rgb, quality=90, restart_marker_blocks=2)
    save("one_pixel.jpg", rgb.crop((0, 0, 1, 1)), quality=90)
    save("tiny.jpg", rgb.crop((0, 0, 16, 12)), quality=50, exif=exif)
    save("lossy.webp", rgb, quality=80)
    save("lossy_alpha.webp", rgba, quality=80)
    save("lossless_exif8.webp", rgb, lossless=True, exif=exif)
    save("animated.webp", rgba, save_all=True, append_images=[rgba.rotate(180)], lossless=True, duration=100)
    save("flat.jpg", Image.new("RGB", (3000, 2000), "white"), quality=1, optimize=True)
    save("flat_progressive.jpg", Image.new("L", (3000, 2000), "white"), quality=1, progressive=True)
    save("flat.png", Image.new("RGB", (3000, 2000), "white"), optimize=True)
    save("flat.webp", Image.new("RGB", (3000, 2000), "white"), quality=0, method=6)
    names = sorted(n for n in os.listdir(out) if n.endswith(("png", "jpg", "webp")) and not n.startswith("flat"))
    save_file({f"{n}/rgb": np.asarray(upright_rgb(at(n))).copy() for n in names}, at("pictures.safetensors"))


main(sys.argv[1])
