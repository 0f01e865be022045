#!/usr/bin/env python3
"""A second set of fixtures, of sizes, seeds and texts that the repository's own set has not.

    python scripts/second_fixtures.py OUT --paella Paella/src --arroz Arroz-Con-Cosas/arroz
    PAELLA_FIXTURES=OUT cargo test --test it parity::

--paella and --arroz are folders of clones of dome272/Paella and pabloppp/Arroz-Con-Cosas. Needs torch, safetensors, transformers, open_clip_torch and ftfy. The files have
the form of tests/fixtures/README.md, and its tolerances: 8 times the difference between float32 and float64, at least 2e-6 of
the largest output.
"""
import argparse
import json
import math
import pathlib

import torch
from safetensors.torch import save_file
from strict import module_of

TEXTS = [
    "cafÃ© au lait", "donâ€™t look down", "âœ” no problems", "l’humanitÃ©", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "ä½ å¥½", "Â© 2020, 100 Â°C", "ðŸ¦Š in the snow",
    "The Mona Lisa doesnÃƒÂ¢Ã¢â€šÂ¬Ã¢â€žÂ¢t have eyebrows.", "Ã\xa0 perturber la rÃ©flexion", "IÃ±tÃ«rnÃ¢tiÃ´nÃ lizÃ¦tiÃ¸n",
    "ﬁne ﬂat ＷＩＤＥ", "“curly” ‘quotes’", "a\u0301 composed", "&amp;eacute; &lt;b&gt;", "AÃ‘O", "plain text, nothing to mend", "naïve café", "ŉ ǆ",
    "voilÃ  un Å“uf", "½ cup, 3² = 9", "zero\u200bwidth", "\ufefffirst", "2 × 3 ≠ 7", "ＡＢＣ１２３", "ﾊﾝｶｸ", "tab\tand  blanks",
]


def tolerance(single, double):
    error = (single.double() - double).abs().max().item()
    least = max(8 * error, 2e-6 * double.abs().max().item(), 1e-12)
    power = 10.0 ** math.floor(math.log10(least))
    return {"atol": next(k * power for k in (1, 2, 5, 10) if k * power >= least), "observed_f32_vs_f64": error}


def write(out, name, model, inputs, call, cls, init, forward):
    """Random weights, then the outputs of `forward` in both precisions."""
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5 / math.sqrt(max(parameter.shape[-1] if parameter.dim() > 1 else 16, 1)))
        single = forward(model.float(), inputs)
        weights = {f"w.{key}": xs.detach().clone().contiguous() for key, xs in model.state_dict().items()}
        to_double = lambda xs: xs.double() if xs.is_floating_point() else xs
        double = forward(model.double(), {key: to_double(xs) for key, xs in inputs.items()})
    bounds = {key: tolerance(single[key], double[key]) for key in single}
    tensors = weights | {f"in.{key}": xs.contiguous() for key, xs in inputs.items()}
    tensors |= {f"out.{key}": xs.contiguous() for key, xs in single.items()}
    about = {"config": json.dumps({"cls": cls, "init": init, "call": call}), "tolerance": json.dumps(bounds)}
    save_file(tensors, out / f"{name}.safetensors", about)


def denoisers(out, paella):
    base = {"c_r": 24, "kernel_size": 3, "dropout": 0.0}
    cases = [
        dict(c_in=10, num_labels=77, patch_size=1, c_cond=24, c_hidden=[12, 24], nhead=[3, 6], blocks=[1, 2],
             level_config=["CTA", "TCAF"], clip_embd=14, byt5_embd=18, clip_seq_len=2, self_attn=False),
        dict(c_in=8, num_labels=130, patch_size=2, c_cond=30, c_hidden=[20, 28, 36], nhead=[-1, 7, 9], blocks=[2, 1, 2],
             level_config=["CT", "CTA", "FTA"], clip_embd=22, byt5_embd=16, clip_seq_len=3, self_attn=True),
        dict(c_in=16, num_labels=64, patch_size=4, c_cond=16, c_hidden=[32], nhead=[2], blocks=[3],
             level_config=["CTA"], clip_embd=8, byt5_embd=12, clip_seq_len=1, self_attn=True, kernel_size=5),
    ]
    for i, case in enumerate(cases):
        init = base | case | {"c_out": case["c_in"]}
        torch.manual_seed(100 + i)
        side = case["patch_size"] * 2 ** (len(case["c_hidden"]) - 1)
        inputs = {
            "x": torch.randint(0, case["num_labels"], (3, 2 * side, 3 * side)), "r": torch.tensor([1.0, 0.31, 0.02]),
            "byt5": torch.randn(3, 5 + i, case["byt5_embd"]), "clip": torch.randn(3, case["clip_embd"]),
        }
        if i == 1:
            inputs["clip_image"] = torch.randn(3, case["clip_embd"])

        def forward(model, given):
            logits = model(given["x"], given["r"], given["byt5"], given["clip"], given.get("clip_image"))
            c_embed = model.gen_c_embeddings(given["byt5"], given["clip"], given.get("clip_image"))
            return {"logits": logits, "c_embed": c_embed, "r_embed": model.gen_r_embedding(given["r"])}

        write(out, f"denoiser_{i}", paella(**init), inputs, {"mode": "eval"}, "Paella", init, forward)


class Table(torch.nn.Module):
    """Stands in for torchtools' VectorQuantize: only its table is used here, no nearest code is looked for."""

    def __init__(self, c, k):
        super().__init__()
        self.codebook = torch.nn.Embedding(k, c)

    def forward(self, xs, dim):
        return xs, (0.0, 0.0), None

    def idx2vq(self, indices, dim):
        return self.codebook(indices).movedim(-1, dim)


def tokenizers(out, vqgan):
    cases = [
        dict(levels=1, bottleneck_blocks=3, c_hidden=20, c_latent=5, codebook_size=33, scale_factor=0.3764),
        dict(levels=4, bottleneck_blocks=2, c_hidden=64, c_latent=3, codebook_size=50, scale_factor=1.0),
    ]
    for i, init in enumerate(cases):
        torch.manual_seed(300 + i)
        factor, (h, w) = 2 ** init["levels"], (3, 2)
        inputs = {
            "img": torch.rand(2, 3, h * factor, w * factor), "latent": torch.randn(2, init["c_latent"], h, w),
            "indices": torch.randint(0, init["codebook_size"], (2, h, w)),
        }
        model = vqgan(**init)
        norm = model.down_blocks[-1][1]
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)

        def forward(model, given):
            return {
                "x": model.encode(given["img"])[1], "decoded_latent": model.decode(given["latent"]),
                "decoded_indices": model.decode_indices(given["indices"]),
            }

        write(out, f"tokenizer_{i}", model, inputs, {"mode": "eval"}, "VQModel", init, forward)


def priors(out, prior):
    # what the schedule of the first set's file says; only the network is run here
    call = {"s": 0.008, "cfg": 3.0, "timesteps": 8, "p2_k": [1.0, 0.5], "p2_gamma": [1.0, 0.75]}
    for i, (clip_r, c_hidden, c_r, blocks) in enumerate([(12, 20, 30, 1), (50, 36, 16, 7)]):
        init = {"clip_r": clip_r, "c_hidden": c_hidden, "c_r": c_r, "num_blocks": blocks}
        torch.manual_seed(400 + i)
        inputs = {"x": torch.randn(4, clip_r), "r": torch.tensor([1.0, 0.62, 0.07, 0.0]), "c": torch.randn(4, clip_r)}

        def forward(model, given):
            return {"pred": model(given["x"], given["r"], given["c"]), "r_embed": model.gen_r_embedding(given["r"])}

        write(out, f"prior_{i}", prior(**init), inputs, call, "PriorModel", init, forward)


def text_encoders(out):
    from transformers import T5Config, T5EncoderModel

    for i, (layers, heads, d_kv) in enumerate([(1, 2, 8), (4, 3, 20)]):
        init = {
            "vocab_size": 384, "d_model": 24, "d_kv": d_kv, "d_ff": 40, "num_layers": layers, "num_heads": heads,
            "relative_attention_num_buckets": 16, "relative_attention_max_distance": 64, "feed_forward_proj": "gated-gelu",
        }
        torch.manual_seed(200 + i)
        ids = torch.randint(3, 259, (3, 150))
        mask = (torch.arange(150) < torch.tensor([[150], [90], [1]])).long()
        inputs = {"input_ids": ids * mask, "attention_mask": mask}

        def forward(model, given):
            hidden = lambda **more: model(input_ids=given["input_ids"], **more).last_hidden_state
            everything = torch.ones_like(given["input_ids"])
            return {"hidden": hidden(attention_mask=everything), "hidden_masked": hidden(attention_mask=given["attention_mask"])}

        write(out, f"text_{i}", T5EncoderModel(T5Config(**init)), inputs, {"mode": "eval"}, "T5EncoderModel", init, forward)


def tokens(out):
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import ByT5Tokenizer

    clip = SimpleTokenizer()

    def pieces(text):
        row = clip([text])[0].tolist()
        return row[: row.index(49407) + 1]

    strings = [{"text": text, "ids": pieces(text)} for text in TEXTS]
    about = {"source": "open_clip SimpleTokenizer", "context_length": 77, "sot": 49406, "eot": 49407, "special": []}
    (out / "clip_texts.json").write_text(json.dumps(about | {"strings": strings}))
    byt5 = ByT5Tokenizer()
    strings = [{"text": text, "ids": byt5(text).input_ids} for text in TEXTS]
    padded = byt5(TEXTS, padding="longest")
    batch = {"texts": TEXTS, "input_ids": padded.input_ids, "attention_mask": padded.attention_mask}
    about = {"source": "transformers ByT5Tokenizer", "special": []}
    (out / "byt5_texts.json").write_text(json.dumps(about | {"strings": strings, "batches": [batch]}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--paella", type=pathlib.Path, required=True)
    parser.add_argument("--arroz", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    denoisers(args.out, module_of(args.paella / "modules.py").Paella)
    table = {"torchtools": {}, "torchtools__nn": {"VectorQuantize": Table}}
    tokenizers(args.out, module_of(args.paella / "vqgan.py", **table).VQModel)
    wavelets = {"DWTForward": None, "DWTInverse": None}
    priors(args.out, module_of(args.arroz / "modules.py", pytorch_wavelets=wavelets).PriorModel)
    text_encoders(args.out)
    tokens(args.out)
    print(*sorted(path.name for path in args.out.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
