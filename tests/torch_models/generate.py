"""Small networks as PyTorch's users write them, exported to ONNX by ``torch.onnx.export``.

    pip install torch onnxscript
    python tests/torch_models/generate.py FOLDER

writes a float model for each of ``NETWORKS``. Those kept here were made with PyTorch 2.14; for all
files beside it ``tests/sw/test_torch_models.py`` quantises, compiles and runs them.
"""

import argparse
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["NETWORKS"]

SIDE = 16


class Network(nn.Module):
    """Layers, and a function of them and the input."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        """Call the function."""
        return self.function(self, x)


def conv(inputs, outputs, size=3, **options):
    """Return a convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def boxes(head, x):
    """Return a list of four numbers a box."""
    return head(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)


def detect(net, x):
    """Return the boxes of two maps."""
    fine = F.relu(net.a(x))
    coarse = F.relu(net.b(F.max_pool2d(fine, 2)))
    return torch.cat([boxes(net.fine, fine), boxes(net.coarse, coarse)], 1)


def squeeze_excite(net, x):
    """Scale channels by what the mean of the map says."""
    x = net.a(x)
    gate = net.excite(F.relu(net.squeeze(x.mean((2, 3), keepdim=True))))
    return net.out(x * torch.sigmoid(gate))


def efficient_attention(net, x):
    """Scale channels by what their neighbours say (ECA)."""
    x = net.a(x)
    gate = torch.sigmoid(net.across(x.mean((2, 3)).unsqueeze(1))).squeeze(1)
    return net.out(x * gate[..., None, None])


def spatial_attention(net, x):
    """Scale pixels by mean and maximum of their channels (CBAM)."""
    x = net.a(x)
    both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    return net.out(x * torch.sigmoid(net.over(both)))


def temporal(net, x):
    """Convolve a sequence causally and with dilation (TCN)."""
    x = F.relu(net.a(F.pad(x.flatten(2), (2, 0))))
    return net.out((F.relu(net.b(F.pad(x, (4, 0)))) + x).mean(2))


def u_net(net, x):
    """Go down and up again, joined with what was before."""
    x = net.a(x)
    up = F.interpolate(net.b(F.max_pool2d(x, 2)), scale_factor=2, mode="bilinear")
    return net.out(torch.cat([x, up], 1))


def focus(net, x):
    """Put the pixels of a block side by side."""
    parts = [x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return F.silu(net.a(torch.cat(parts, 1)))


def pyramid(net, x):
    """Join maxima over windows of several sizes (SPP)."""
    x = net.a(x)
    return net.out(torch.cat([x, *(F.max_pool2d(x, k, 1, k // 2) for k in (3, 5, 7))], 1))


def halves(net, x):
    """Gate one half of the channels with the other."""
    u, v = net.a(x).chunk(2, 1)
    return net.out(torch.cat([u * torch.tanh(v), u - v], 1))


def softmax_attention(net, x):
    """Weigh pixels by a softmax over all of them."""
    where = F.softmax(net.over(x).flatten(2), -1).view(-1, 1, SIDE, SIDE)
    return net.out(net.a(x) * where)


def channels_last(net, x):
    """Normalise the channels of each pixel (ConvNeXt)."""
    x = net.norm(net.a(x).permute(0, 2, 3, 1))
    return net.b(x.permute(0, 3, 1, 2))


NETWORKS = {
    "u_net": Network(u_net, a=conv(3, 8), b=conv(8, 8), out=conv(16, 4)),
    "resized": Network(
        lambda net, x: F.interpolate(net.b(F.avg_pool2d(net.a(x), 3)), size=x.shape[2:],
                                     mode="bilinear", align_corners=True),
        a=conv(3, 8), b=conv(8, 8)),
    "decoder": Network(
        lambda net, x: torch.sigmoid(net.b(F.elu(net.a(net.fc(x.flatten(1)[:, :16]).view(
            -1, 8, 4, 4))))),
        fc=nn.Linear(16, 128), a=nn.ConvTranspose2d(8, 8, 4, 2, 1),
        b=nn.ConvTranspose2d(8, 3, 4, 2, 1)),
    "focus": Network(focus, a=conv(12, 8)),
    "pixel_shuffle": Network(lambda net, x: F.pixel_shuffle(net.b(F.gelu(net.a(x))), 2),
                             a=conv(3, 8), b=conv(8, 12)),
    "pixel_unshuffle": Network(lambda net, x: net.a(F.pixel_unshuffle(x, 2)), a=conv(12, 8)),
    "channel_shuffle": Network(lambda net, x: net.b(nn.ChannelShuffle(2)(net.a(x))),
                               a=conv(3, 8), b=conv(8, 8, groups=2)),
    "squeeze_excite": Network(squeeze_excite, a=conv(3, 8), squeeze=conv(8, 2, 1),
                              excite=conv(2, 8, 1), out=conv(8, 4)),
    "efficient_attention": Network(efficient_attention, a=conv(3, 8),
                                   across=nn.Conv1d(1, 1, 3, padding=1), out=conv(8, 4)),
    "spatial_attention": Network(spatial_attention, a=conv(3, 8), over=conv(2, 1, 7),
                                 out=conv(8, 4)),
    "softmax_attention": Network(softmax_attention, a=conv(3, 8), over=conv(3, 1),
                                 out=conv(8, 4)),
    "group_norm": Network(lambda net, x: net.b(net.norm(net.a(x))), a=conv(3, 8),
                          norm=nn.GroupNorm(2, 8), b=conv(8, 4)),
    "instance_norm": Network(lambda net, x: net.b(net.norm(net.a(x))), a=conv(3, 8),
                             norm=nn.InstanceNorm2d(8), b=conv(8, 4)),
    "layer_norm": Network(channels_last, a=conv(3, 8), norm=nn.LayerNorm(8), b=conv(8, 4)),
    "mish": Network(lambda net, x: net.b(F.mish(net.a(x))), a=conv(3, 8), b=conv(8, 4)),
    "classifier": Network(
        lambda net, x: F.log_softmax(net.fc(F.adaptive_avg_pool2d(
            F.leaky_relu(net.a(x), 0.1), 1).flatten(1)), 1), a=conv(3, 8), fc=nn.Linear(8, 5)),
    "temporal": Network(temporal, a=nn.Conv1d(3, 8, 3), b=nn.Conv1d(8, 8, 3, dilation=2),
                        out=nn.Linear(8, 4)),
    "detector": Network(detect, a=conv(3, 8), b=conv(8, 8), fine=conv(8, 8), coarse=conv(8, 12)),
    "columns": Network(lambda net, x: net.fc(net.a(x).permute(0, 3, 1, 2).flatten(2)),
                       a=conv(3, 4), fc=nn.Linear(4 * SIDE, 7)),
    "pyramid": Network(pyramid, a=conv(3, 8), out=conv(32, 4)),
    "slopes": Network(lambda net, x: net.b(net.slopes(net.norm(net.a(x)))), a=conv(3, 8),
                      norm=nn.BatchNorm2d(8), slopes=nn.PReLU(8), b=conv(8, 4)),
    "normalised_input": Network(lambda net, x: net.a((x - 0.45) / 0.22), a=conv(3, 8)),
    "circular": Network(lambda net, x: net.b(F.pad(net.a(x), (1, 1, 1, 1), mode="circular")),
                        a=conv(3, 8), b=nn.Conv2d(8, 4, 3)),
    "halves": Network(halves, a=conv(3, 8), out=conv(8, 4)),
    "gated_linear": Network(lambda net, x: net.b(F.glu(net.a(x), 1)), a=conv(3, 8),
                            b=conv(4, 4)),
    "bounds": Network(lambda net, x: net.b(F.hardtanh(net.a(x)) + F.relu6(net.a(x))),
                      a=conv(3, 8), b=conv(8, 4)),
}


def export(network, path):
    """Write a network, without the exporter's notes on where it came from."""
    torch.onnx.export(network.eval(), (torch.randn(2, 3, SIDE, SIDE),), path, dynamo=True,
                      external_data=False, dynamic_shapes=({0: torch.export.Dim("n")},))
    model = onnx.load(path)
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input,
                 *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, path)


def main():
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, network in NETWORKS.items():
        torch.manual_seed(0)
        network.apply(lambda layer: layer.reset_parameters()
                      if hasattr(layer, "reset_parameters") else None)
        export(network, folder / f"{name}.onnx")


if __name__ == "__main__":
    main()
