"""The same denoiser in PyTorch, the peer that `paella bench` is measured against. `python twin.py FOLDER --device cuda` says
whether it is equal to the fixtures of a folder.

Letters: B pictures, h x w tokens, K codes, S condition vectors, c channels.
"""
import argparse
import json
import math
import os
import sys

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-6


def norm2d(xs):
    """Layer norm over the channels of (B, c, H, W), no gain or offset."""
    return F.layer_norm(xs.permute(0, 2, 3, 1), xs.shape[1:2], eps=EPS).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, c))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, c))

    def forward(self, xs):  # (B, H, W, c)
        energy = torch.norm(xs, p=2, dim=(1, 2), keepdim=True)
        share = energy / (energy.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma * (xs * share) + self.beta + xs


def channelwise(c, dropout):
    return nn.Sequential(nn.Linear(c, 4 * c), nn.GELU(), ResponseNorm(4 * c), nn.Dropout(dropout), nn.Linear(4 * c, c))


class C(nn.Module):
    """Depthwise convolution, over the skip as well, then channels."""

    def __init__(self, c, skip, kernel, dropout):
        super().__init__()
        self.depthwise = nn.Conv2d(c * (1 + skip), c, kernel, padding=kernel // 2, groups=c)
        self.channelwise = channelwise(c, dropout)
        self.takes_skip = skip

    def forward(self, xs, skip, _r, _cond):
        inner = torch.cat([xs, skip], 1) if self.takes_skip and skip is not None else xs
        ys = norm2d(self.depthwise(inner)).permute(0, 2, 3, 1)
        return xs + self.channelwise(ys).permute(0, 3, 1, 2)


class FF(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        self.channelwise = channelwise(c, dropout)

    def forward(self, xs, _skip, _r, _cond):
        return xs + self.channelwise(norm2d(xs).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class T(nn.Module):
    def __init__(self, c, c_r):
        super().__init__()
        self.mapper = nn.Linear(c_r, 2 * c)

    def forward(self, xs, _skip, r, _cond):
        a, b = self.mapper(r)[:, :, None, None].chunk(2, dim=1)
        return xs * (1 + a) + b


class Attention(nn.Module):
    def __init__(self, c, heads, dropout):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * c, c))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * c))
        self.out_proj = nn.Linear(c, c)
        nn.init.xavier_uniform_(self.in_proj_weight)
        self.heads, self.dropout = heads, dropout

    def forward(self, queries, keys):  # (B, Q, c), (B, N, c)
        (b, q, c), n = queries.shape, keys.shape[1]
        ws, bs = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        heads = lambda xs, length: xs.view(b, length, self.heads, c // self.heads).transpose(1, 2)
        ys = F.scaled_dot_product_attention(
            heads(F.linear(queries, ws[0], bs[0]), q),
            heads(F.linear(keys, ws[1], bs[1]), n),
            heads(F.linear(keys, ws[2], bs[2]), n),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out_proj(ys.transpose(1, 2).reshape(b, q, c))


class A(nn.Module):
    """Every position looks at the text, and at all positions."""

    def __init__(self, c, c_cond, heads, self_attn, dropout):
        super().__init__()
        self.self_attn = self_attn
        self.attention = nn.Module()
        self.attention.attn = Attention(c, heads, dropout)
        self.kv_mapper = nn.Sequential(nn.SiLU(), nn.Linear(c_cond, c))

    def forward(self, xs, _skip, _r, cond):
        b, c, h, w = xs.shape
        queries = norm2d(xs).permute(0, 2, 3, 1).reshape(b, h * w, c)
        text = self.kv_mapper(cond)
        keys = torch.cat([queries, text], 1) if self.self_attn else text
        ys = self.attention.attn(queries, keys)
        return xs + ys.view(b, h, w, c).permute(0, 3, 1, 2)


class Norm(nn.Module):
    def forward(self, xs):
        return norm2d(xs)


class Paella(nn.Module):
    """`model` is the config's: the names of the weights are those of the published state dict."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        levels, patch = model["levels"], model["c_in"] * model["patch_size"] ** 2
        first = levels[0]["c_hidden"]
        self.byt5_mapper = nn.Linear(model["byt5_embd"], model["c_cond"])
        if model["clip_embd"]:
            width = model["c_cond"] * model["clip_seq_len"]
            self.clip_mapper = nn.Linear(model["clip_embd"], width)
            self.clip_image_mapper = nn.Linear(model["clip_embd"], width)
        self.in_mapper = nn.Sequential(nn.Embedding(model["num_labels"], model["c_in"]))
        self.embedding = nn.Sequential(nn.PixelUnshuffle(model["patch_size"]), nn.Conv2d(patch, first, 1), Norm())
        self.down_blocks = nn.ModuleList(self.level(i, down=True) for i in range(len(levels)))
        self.up_blocks = nn.ModuleList(self.level(i, down=False) for i in reversed(range(len(levels))))
        self.clf = nn.Sequential(Norm(), nn.Conv2d(first, patch, 1), nn.PixelShuffle(model["patch_size"]))
        self.out_mapper = nn.Sequential(Norm(), nn.Conv2d(model["c_in"], model["num_labels"], 1, bias=False))

    def level(self, i, down):
        levels, blocks = self.model["levels"], nn.ModuleList()
        level, deepest = levels[i], len(levels) - 1
        c = level["c_hidden"]
        if down and i > 0:
            blocks.append(nn.Sequential(Norm(), nn.Conv2d(levels[i - 1]["c_hidden"], c, 2, stride=2)))
        for k in range(level["blocks"]):
            for j, letter in enumerate(level["layout"]):
                skip = not down and i < deepest and k == 0 and j == 0
                blocks.append(self.block(letter, level, skip))
        if not down and i > 0:
            blocks.append(nn.Sequential(Norm(), nn.ConvTranspose2d(c, levels[i - 1]["c_hidden"], 2, stride=2)))
        return blocks

    def block(self, letter, level, skip):
        model, c, dropout = self.model, level["c_hidden"], level["dropout"]
        own = level.get("self_attn")
        self_attn = model["self_attn"] if own is None else own
        return {
            "C": lambda: C(c, skip, model["kernel_size"], dropout),
            "T": lambda: T(c, model["c_r"]),
            "A": lambda: A(c, model["c_cond"], level["nhead"], self_attn, dropout),
            "F": lambda: FF(c, dropout),
        }[letter]()

    def embed_t(self, t):
        half = self.model["c_r"] // 2
        frequency = (torch.arange(half, device=t.device).float() * (-math.log(10000.0) / (half - 1))).exp()
        angle = (t * 10000.0)[:, None] * frequency[None]
        embedded = torch.cat([angle.sin(), angle.cos()], dim=1)
        return F.pad(embedded, (0, 1)) if self.model["c_r"] % 2 else embedded

    def embed_cond(self, byt5, clip=None, clip_image=()):
        parts, images = [self.byt5_mapper(byt5)], list(clip_image)
        split = lambda xs: xs.view(-1, self.model["clip_seq_len"], self.model["c_cond"])
        if clip is not None:
            parts.append(split(self.clip_mapper(clip)))
        parts += [split(self.clip_image_mapper(image)) for image in images]
        cond = torch.cat(parts, 1)
        return F.layer_norm(cond, cond.shape[-1:], eps=EPS)

    def forward(self, tokens, t, byt5, clip=None, clip_image=()):
        r, cond = self.embed_t(t), self.embed_cond(byt5, clip, clip_image)
        xs = self.in_mapper(tokens)
        xs = F.layer_norm(xs, xs.shape[-1:], eps=EPS).permute(0, 3, 1, 2)
        xs = self.embedding(xs)
        kept = []
        for blocks in self.down_blocks:
            xs = self.through(blocks, xs, None, r, cond)
            kept.append(xs)
        for i, blocks in enumerate(self.up_blocks):
            xs = self.through(blocks, xs, kept[len(kept) - 1 - i] if i else None, r, cond)
        return self.out_mapper(self.clf(xs))

    @staticmethod
    def through(blocks, xs, skip, r, cond):
        for block in blocks:
            xs = block(xs) if isinstance(block, nn.Sequential) else block(xs, skip, r, cond)
            skip = skip if isinstance(block, nn.Sequential) else None
        return xs


# ---- equal to the fixtures


def read(path):
    """A safetensors file: tensors by name, metadata. (The package of that name need not be there.)"""
    data = open(path, "rb").read()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    kinds = {"F32": torch.float32, "I64": torch.int64}
    tensors = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            empty = start == end
            kind = kinds[about["dtype"]]
            flat = torch.empty(0, dtype=kind) if empty else torch.frombuffer(body[start:end], dtype=kind)
            tensors[name] = flat.reshape(about["shape"])
    return tensors, header["__metadata__"]


def model_of(init):
    """A fixture's arguments as a config's."""
    each = lambda key: init[key] if isinstance(init[key], list) else [init[key]] * len(init["c_hidden"])
    rows = zip(init["c_hidden"], init["nhead"], init["blocks"], init["level_config"], each("dropout"))
    names = ["c_hidden", "nhead", "blocks", "layout", "dropout"]
    return {**init, "levels": [dict(zip(names, row)) for row in rows]}


def check(folder, device):
    """Every forward fixture of the denoiser: how far off, in shares of the stated tolerance."""
    worst, files = 0.0, 0
    for name in sorted(os.listdir(folder)):
        if not (name.startswith("paella_") and name.endswith(".safetensors")):
            continue
        tensors, metadata = read(os.path.join(folder, name))
        config = json.loads(metadata["config"])
        if config["call"].get("mode") != "eval" or "in.attn_weights" in tensors:
            continue
        twin = Paella(model_of(config["init"])).to(device).eval()
        twin.load_state_dict({k[2:]: v for k, v in tensors.items() if k.startswith("w.")})
        get = lambda key: tensors["in." + key].to(device) if "in." + key in tensors else None
        images = [get("clip_image")] if "in.clip_image" in tensors else []
        images += [v.to(device) for k, v in sorted(tensors.items()) if k.startswith("in.clip_image.")]
        with torch.no_grad():
            logits = twin(get("x"), get("r"), get("byt5"), get("clip"), images).cpu()
        bound = json.loads(metadata["tolerance"])["logits"]["atol_per_sample"]
        error = (logits - tensors["out.logits"]).abs().flatten(1).max(1).values
        shares = [float(e) / b for e, b in zip(error, bound)]
        files, worst = files + 1, max([worst, *shares])
    return {"fixtures": files, "worst_share_of_tolerance": worst, "equal": files > 0 and worst <= 10.0}


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("folder")
    args.add_argument("--device", default="cuda")
    args = args.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    result = check(args.folder, args.device)
    print(json.dumps(result), flush=True)
    sys.exit(0 if result["equal"] else 1)


if __name__ == "__main__":
    main()
