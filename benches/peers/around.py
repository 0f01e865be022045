"""What stands around the denoiser, in PyTorch: the VQGAN, and the ByT5 encoder of transformers. Answers requests as
`paella bench --serve` does (`encode N TIMES`, `decode N TIMES`, `text N TIMES`), with random weights.

    python around.py CONFIG.json
    python around.py --check FOLDER      holds the VQGAN against a folder of fixtures

CONFIG.json is what `paella config show --json FILE` prints.

Letters: B pictures of H x W pixels, h x w tokens, c channels, K codes.
"""
import argparse
import json
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.depthwise = nn.Sequential(nn.ReplicationPad2d(1), nn.Conv2d(c, c, 3, groups=c))
        self.channelwise = nn.Sequential(nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c))
        self.gammas = nn.Parameter(torch.zeros(6))

    def norm(self, xs, i):  # (B, c, H, W) -> (B, H, W, c)
        g = self.gammas
        return F.layer_norm(xs.permute(0, 2, 3, 1), xs.shape[1:2], eps=1e-6) * (1 + g[i]) + g[i + 1]

    def forward(self, xs):
        xs = xs + self.depthwise(self.norm(xs, 0).permute(0, 3, 1, 2)) * self.gammas[2]
        return xs + self.channelwise(self.norm(xs, 3)).permute(0, 3, 1, 2) * self.gammas[5]


class Vqgan(nn.Module):
    """Names of the published state dict."""

    def __init__(self, levels, bottleneck_blocks, c_hidden, c_latent, codebook_size, **_):
        super().__init__()
        widths = [c_hidden >> (levels - 1 - level) for level in range(levels)]
        self.in_block = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, widths[0], 1))
        down = []
        for level, c in enumerate(widths):
            if level:
                down.append(nn.Conv2d(widths[level - 1], c, 4, stride=2, padding=1))
            down.append(ResBlock(c))
        down.append(nn.Sequential(nn.Conv2d(c_hidden, c_latent, 1, bias=False), nn.BatchNorm2d(c_latent)))
        self.down_blocks = nn.Sequential(*down)
        self.vquantizer = nn.Module()
        self.vquantizer.codebook = nn.Embedding(codebook_size, c_latent)
        up = [nn.Sequential(nn.Conv2d(c_latent, c_hidden, 1))]
        for level in reversed(range(levels)):
            up += [ResBlock(widths[level]) for _ in range(bottleneck_blocks if level == levels - 1 else 1)]
            if level:
                up.append(nn.ConvTranspose2d(widths[level], widths[level - 1], 4, stride=2, padding=1))
        self.up_blocks = nn.Sequential(*up)
        self.out_block = nn.Sequential(nn.Conv2d(widths[0], 12, 1), nn.PixelShuffle(2))

    def encode(self, images):  # (B, 3, H, W) -> (B, h, w)
        xs = self.down_blocks(self.in_block(images)).permute(0, 2, 3, 1)  # (B, h, w, c_latent)
        codes = self.vquantizer.codebook.weight
        distance = (codes * codes).sum(1) - 2 * xs.reshape(-1, xs.shape[-1]) @ codes.t()  # (B h w, K), less |x|^2
        return distance.argmin(1).view(xs.shape[:3])

    def decode(self, tokens):  # (B, h, w) -> (B, 3, H, W)
        return self.out_block(self.up_blocks(self.vquantizer.codebook(tokens).permute(0, 3, 1, 2)))


def text_encoder(config):
    try:
        from transformers import T5Config, T5EncoderModel
    except ImportError:
        return None
    sizes = ["vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "relative_attention_num_buckets", "relative_attention_max_distance"]
    return T5EncoderModel(T5Config(feed_forward_proj="gated-gelu", **{name: config[name] for name in sizes})).eval()


class Around:
    def __init__(self, config):
        torch.manual_seed(0)
        self.vqgan = Vqgan(**config["tokenizer"]["model"]).eval()
        self.text = text_encoder(config["text"])
        self.codes = config["tokenizer"]["model"]["codebook_size"]
        self.side, self.bytes = config["data"]["size"], config["text"]["length"] or 128
        self.grid = self.side // 2 ** config["tokenizer"]["model"]["levels"]

    def work(self, what, n):
        if what == "encode":
            images = torch.rand(n, 3, self.side, self.side)
            return lambda: self.vqgan.encode(images)
        if what == "decode":
            tokens = torch.randint(self.codes, (n, self.grid, self.grid))
            return lambda: self.vqgan.decode(tokens).clamp(0, 1)
        if what == "text" and self.text is not None:
            ids = torch.randint(3, 259, (n, self.bytes))
            return lambda: self.text(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return None

    def answer(self, line):
        what, n, times = line.split()
        work = self.work(what, int(n))
        if work is None:
            return {"error": f"no peer for `{what}`"}
        work()
        each = []
        for _ in range(int(times)):
            start = time.perf_counter()
            work()
            each.append(1e3 * (time.perf_counter() - start))
        return {"piece": {"piece": what, "batch": int(n), "each_ms": each, "ms": statistics.median(each)}}


def check(folder):
    """Largest error over its tolerance, for the two fixtures of the VQGAN."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "gpu"))
    from twin import read

    worst = 0.0
    for name in ["vqgan_f4", "vqgan_f8"]:
        given, about = read(os.path.join(folder, name + ".safetensors"))
        model = Vqgan(**json.loads(about["config"])["init"]).eval()
        model.load_state_dict({key[2:]: xs for key, xs in given.items() if key.startswith("w.")}, strict=False)
        if not torch.equal(model.encode(given["in.img"]), given["out.indices"]):
            raise SystemExit(f"error: other tokens\n  in: {name}")
        error = (model.decode(given["in.indices"]) - given["out.decoded_indices"]).abs().max().item()
        worst = max(worst, error / json.loads(about["tolerance"])["decoded_indices"]["atol"])
    if worst > 1:
        raise SystemExit(f"error: {worst:.2f} of the tolerance\n  in: the VQGAN")
    print(json.dumps({"equal": True, "worst_share_of_tolerance": worst}))


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?")
    parser.add_argument("--check", metavar="FOLDER")
    args = parser.parse_args()
    if args.check:
        return check(args.check)
    around = Around(json.load(open(args.config)))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(around.answer(line)), flush=True)


if __name__ == "__main__":
    main()
