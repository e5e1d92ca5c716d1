"""The upsampler as its formulas read, unfolded and slow: the oracle of the fast one (method.md 3)."""

import torch
import torch.nn.functional as F


def jbu(source, guidance, net):
    """One joint bilateral upsampling: source (B, C, h, w), guidance (B, 3, H, W) -> (B, C, H, W)."""
    b = len(source)
    height, width = guidance.shape[-2:]
    side = 2 * net.radius + 1

    def conv(layer, x):
        return F.conv2d(x, layer.weight, layer.bias)

    def neighbours(x):
        padded = F.pad(x, (net.radius,) * 4, mode="reflect")
        return F.unfold(padded, side).view(b, x.shape[1], side * side, height, width)

    keys = conv(net.range_proj[3], F.gelu(conv(net.range_proj[0], guidance)))
    scores = (neighbours(keys) * keys[:, :, None]).sum(1) * net.range_temp.exp().clamp(1e-4, 1e4)
    axis = torch.linspace(-1, 1, side, dtype=source.dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    spatial = torch.exp(-(y**2 + x**2) / (2 * net.sigma_spatial**2)).flatten()
    kernel = torch.softmax(scores, dim=1) * spatial[None, :, None, None]
    kernel = kernel / kernel.sum(1, keepdim=True).clamp(min=1e-7)
    hidden = F.gelu(conv(net.fixup_proj[0], torch.cat([kernel, guidance], dim=1)))
    kernel = kernel + 0.1 * conv(net.fixup_proj[3], hidden)
    smooth = F.interpolate(source, size=(height, width), mode="bicubic", align_corners=False)
    padded, total = F.pad(smooth, (net.radius,) * 4, mode="reflect"), torch.zeros_like(smooth)
    for tap in range(side * side):  # unfolded, a real image takes gigabytes
        row, col = divmod(tap, side)
        total += padded[..., row : row + height, col : col + width] * kernel[:, tap, None]
    return total


def upsample(tokens, guidance, net):
    """All stages and the head: tokens (B, C, h, w), guidance (B, 3, H, W) -> features (B, C, H, W)."""
    h, w = tokens.shape[-2:]
    maps = tokens
    for i in range(1, net.stages + 1):
        size = guidance.shape[-2:] if i == net.stages else (h << i, w << i)
        maps = jbu(maps, F.adaptive_avg_pool2d(guidance, size), net.up if net.shared else getattr(net, f"up{i}"))
    head = net.fixup_proj[1]
    return maps + 0.1 * F.conv2d(maps, head.weight, head.bias)


def softmax_attention(x, attn, pairs):
    """Sum of explicit softmax maps applied to v, then the output projection: tokens (B, N, D) -> (B, N, D)."""
    b, n, d = x.shape
    heads, size = attn.num_heads, d // attn.num_heads
    projected = F.linear(x, attn.in_proj_weight, attn.in_proj_bias).split(d, dim=-1)
    q, k, v = (part.view(b, n, heads, size).transpose(1, 2) for part in projected)
    parts = {"q": q, "k": k, "v": v}
    maps = sum(torch.softmax(parts[i] @ parts[j].transpose(2, 3) * size**-0.5, dim=-1) for i, j in pairs)
    return F.linear((maps @ v).transpose(1, 2).reshape(b, n, d), attn.out_proj.weight, attn.out_proj.bias)
