"""ResNet-50 with random weights (seed 0) as ONNX, batch norm folded into the convolutions, batch size left open:
python export_resnet50.py OUT.onnx"""
import argparse
import collections
import os

import onnx
import torch
import torchvision
from torch.fx.experimental.optimization import fuse


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("out")
    a = ap.parse_args()
    torch.manual_seed(0)
    net = fuse(torchvision.models.resnet50(weights=None).eval())
    torch.onnx.export(
        net, (torch.zeros(2, 3, 224, 224),), a.out, input_names=["image"], output_names=["logits"], opset_version=18,
        dynamo=True, external_data=False, dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=256)},), optimize=True)
    m = onnx.load(a.out)
    onnx.checker.check_model(m)
    shape = [d.dim_param or d.dim_value for d in m.graph.input[0].type.tensor_type.shape.dim]
    print(f"{os.path.getsize(a.out) / 1e6:.1f} MB, input {shape},", dict(collections.Counter(n.op_type for n in m.graph.node)))


if __name__ == "__main__":
    main()
