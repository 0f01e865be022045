#!/usr/bin/env python3
"""Load the weights of a model folder in the code that they come from, with strict=True.

    python scripts/strict.py assets/models/emoji-64 --paella Paella/src --arroz Arroz-Con-Cosas/arroz

--paella and --arroz are folders of clones of dome272/Paella and pabloppp/Arroz-Con-Cosas. Needs torch, safetensors, transformers
and open_clip_torch. Sizes are read off the weights. What the references import besides torch and is of no use here is replaced by
stand-ins. Ends with 1 if a network does not load.
"""
import argparse
import importlib.util
import pathlib
import re
import sys
import types

import torch
from safetensors.torch import load_file
from torch import nn


class VectorQuantize(nn.Module):
    """Stands in for torchtools': only its table has weights."""

    def __init__(self, c, k):
        super().__init__()
        self.codebook = nn.Embedding(k, c)


def module_of(path, **stand_ins):
    """The module in a file, beside modules that it imports and does not need."""
    for name, contents in stand_ins.items():
        sys.modules[name.replace("__", ".")] = types.SimpleNamespace(**contents)
    # a relative import would look for the package around it
    text = re.sub(r"^from \.vq import VectorQuantize$", "VectorQuantize = None", path.read_text(), flags=re.M)
    module = types.ModuleType(path.stem)
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


def numbers_after(prefix, names):
    found = {int(m.group(1)) for name in names if (m := re.match(re.escape(prefix) + r"(\d+)", name))}
    return range(max(found, default=-1) + 1)


def denoiser(weights, args):
    paella = module_of(args.paella / "modules.py").Paella
    k, c_in = weights["in_mapper.0.weight"].shape
    c_first, patch = weights["embedding.1.weight"].shape[:2]
    c_cond, byt5 = weights["byt5_mapper.weight"].shape
    clip = weights.get("clip_mapper.weight", torch.empty(4 * c_cond, 0))
    c_hidden, layouts, c_r = [c_first], [], 64
    for i in numbers_after("down_blocks.", weights):
        layout = ""
        for j in numbers_after(f"down_blocks.{i}.", weights):
            of = lambda name: weights.get(f"down_blocks.{i}.{j}.{name}")
            if of("1.weight") is not None:
                c_hidden.append(of("1.weight").shape[0])
            elif of("kv_mapper.1.weight") is not None:
                layout += "A"
            elif of("mapper.weight") is not None:
                layout, c_r = layout + "T", of("mapper.weight").shape[1]
            else:
                layout += "C" if of("depthwise.weight") is not None else "F"
        layouts.append(layout)
    levels = len(layouts)
    model = paella(
        c_in=c_in, c_out=c_in, num_labels=k, c_r=c_r, patch_size=round((patch / c_in) ** 0.5), c_cond=c_cond,
        c_hidden=c_hidden, nhead=[1] * levels, blocks=[1] * levels, level_config=layouts,
        clip_embd=clip.shape[1], byt5_embd=byt5, clip_seq_len=clip.shape[0] // c_cond,
    )
    if "clip_mapper.weight" not in weights:
        # the reference cannot be made without them
        del model.clip_mapper, model.clip_image_mapper
    return model


def tokenizer(weights, args):
    stand_in = {"torchtools": {}, "torchtools__nn": {"VectorQuantize": VectorQuantize}}
    model = module_of(args.paella / "vqgan.py", **stand_in).VQModel
    k, c_latent = weights["vquantizer.codebook.weight"].shape
    down = numbers_after("down_blocks.", weights)
    levels = len(down) // 2
    blocks = sum(f"up_blocks.{j}.gammas" in weights for j in numbers_after("up_blocks.", weights))
    return model(
        levels=levels, bottleneck_blocks=blocks - levels + 1, c_hidden=weights["up_blocks.0.0.weight"].shape[0],
        c_latent=c_latent, codebook_size=k,
    )


def text(weights, _):
    from transformers import T5Config, T5EncoderModel

    block = "encoder.block.0.layer."
    vocab, d_model = weights["shared.weight"].shape
    inner = weights[block + "0.SelfAttention.q.weight"].shape[0]
    buckets, heads = weights[block + "0.SelfAttention.relative_attention_bias.weight"].shape
    return T5EncoderModel(T5Config(
        vocab_size=vocab, d_model=d_model, d_kv=inner // heads, num_heads=heads, relative_attention_num_buckets=buckets,
        d_ff=weights[block + "1.DenseReluDense.wi_0.weight"].shape[0],
        num_layers=len(numbers_after("encoder.block.", weights)), feed_forward_proj="gated-gelu",
    ))


def clip(weights, _):
    from open_clip.model import CLIP

    width = weights["ln_final.weight"].shape[0]
    vision = weights["visual.conv1.weight"].shape
    side = round((weights["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    ratio = lambda tower, c: weights[tower + "resblocks.0.mlp.c_fc.weight"].shape[0] / c
    return CLIP(
        embed_dim=weights["text_projection"].shape[1],
        text_cfg=dict(
            context_length=weights["positional_embedding"].shape[0], vocab_size=weights["token_embedding.weight"].shape[0],
            width=width, heads=1, layers=len(numbers_after("transformer.resblocks.", weights)),
            mlp_ratio=ratio("transformer.", width),
        ),
        vision_cfg=dict(
            image_size=side * vision[2], patch_size=vision[2], width=vision[0], head_width=vision[0],
            layers=len(numbers_after("visual.transformer.resblocks.", weights)),
            mlp_ratio=ratio("visual.transformer.", vision[0]),
        ),
    )


def prior(weights, args):
    model = module_of(args.arroz / "modules.py", pytorch_wavelets={"DWTForward": None, "DWTInverse": None}).PriorModel
    c_hidden, clip_r = weights["blocks.0.weight"].shape
    c_r = weights["blocks.1.0.weight"].shape[1] - clip_r - c_hidden
    return model(clip_r=clip_r, c_hidden=c_hidden, c_r=c_r, num_blocks=len(numbers_after("blocks.", weights)) - 2)


def unpacked(weights):
    """Matrices in 8 bits (`paella convert --small`) as numbers, the others as they are."""
    for name in [name for name in weights if f"{name}.scale" in weights and weights[name].dtype == torch.int8]:
        rows = weights[name].shape[:1] + (1,) * (weights[name].dim() - 1)
        weights[name] = weights[name].float() * weights.pop(f"{name}.scale").view(rows)
    return weights


NETWORKS = {"tokenizer": tokenizer, "text": text, "clip": clip, "prior": prior, "denoiser": denoiser}
NEEDS = {"tokenizer": "paella", "denoiser": "paella", "prior": "arroz"}
LIBRARIES = {"text": "transformers", "clip": "open_clip"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--paella", type=pathlib.Path)
    parser.add_argument("--arroz", type=pathlib.Path)
    args = parser.parse_args()
    failed = False
    for name, make in NETWORKS.items():
        file = args.model / f"{name}.safetensors"
        if not file.exists():
            print(f"{name}: the model has none")
            continue
        if (needs := NEEDS.get(name)) and getattr(args, needs) is None:
            print(f"{name}: not tried, --{needs} is not given")
            continue
        if (library := LIBRARIES.get(name)) and importlib.util.find_spec(library) is None:
            print(f"{name}: not tried, there is no {library}")
            continue
        weights = unpacked(load_file(file))
        try:
            make(weights, args).load_state_dict(weights, strict=True)
            print(f"{name}: {len(weights)} tensors, strict=True")
        except RuntimeError as error:
            failed = True
            print(f"{name}: {error}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
