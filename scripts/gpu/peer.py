"""Speed of the PyTorch twin, eager or under torch.compile: answers requests from standard input, one a line.

    python peer.py CONFIG.json --device cuda
    python peer.py CONFIG.json --device cuda --compile max-autotune --ready sample:1,train:16

CONFIG.json is what `paella config show --json FILE` prints. Requests are those of `paella bench --serve`: `train N TIMES`,
`sample N TIMES`, `release`.
"""
import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from twin import A, C, FF, Paella, T

WARM_UP = 3

class Bench:
    """As src/bench.rs: whole updates and sampling runs, on random tokens and text vectors."""

    def __init__(self, config, device, compiled):
        self.config, self.device, self.compiled = config, torch.device(device), compiled
        precision = config["train"]["precision"]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision["tf32"]
        self.bf16 = precision["bf16"]
        self.bytes = config["text"]["length"] or 128
        self.grid = config["data"]["size"] // 2 ** config["tokenizer"]["model"]["levels"]
        torch.manual_seed(0)
        with self.device:
            self.twin = Paella(config["model"])
        self.params = list(self.twin.parameters())
        self.forward = {}
        self.state, self.ready_train, self.ready_sample = None, None, None

    def autocast(self):
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def call(self, what):
        """The network, compiled for training or for sampling where that was asked for."""
        if what not in self.forward:
            self.forward[what] = self.compile(what)
        return self.forward[what]

    def compile(self, what):
        if self.compiled is None:
            return self.twin
        if self.compiled == "blocks":
            # each kind of block once, in the default mode: ready in a fraction of the time
            torch._dynamo.config.recompile_limit = 64
            for block in self.twin.modules():
                if isinstance(block, (C, T, A, FF)) and not self.forward:
                    block.compile(dynamic=False)
            return self.twin
        if self.compiled == "aot_eager":
            return torch.compile(self.twin, backend="aot_eager", dynamic=False)
        # CUDA graphs would hold the activations of a training step for good, which the others need
        graphs = "" if what == "sample" or self.compiled != "max-autotune" else "-no-cudagraphs"
        return torch.compile(self.twin, mode=self.compiled + graphs, dynamic=False)

    def tokens(self, b):
        return torch.randint(self.config["model"]["num_labels"], (b, self.grid, self.grid), device=self.device)

    def text(self, b):
        return torch.randn(b, self.bytes, self.config["model"]["byt5_embd"], device=self.device) * 0.1

    def train(self, micro, times):
        self.prepare(micro)
        self.reset_peak()
        each, loss = [], float("nan")
        for _ in range(times):
            start = time.perf_counter()
            loss = self.step()
            each.append(1e3 * (time.perf_counter() - start))
        ms = statistics.median(each)
        return {"train": {"micro_batch": micro, "each_ms": each, "ms": ms, "pictures_per_s": 1e3 * micro / ms, "memory": self.peak(), "loss": loss}}

    def prepare(self, micro):
        if self.ready_train == micro:
            return
        self.release()
        optim = self.config["train"]["optim"]
        adamw = torch.optim.AdamW(self.params, lr=optim["lr"], betas=tuple(optim["betas"]), eps=optim["eps"], weight_decay=optim["weight_decay"], fused=True)
        averages = [p.detach().clone() for p in self.params]
        self.state = (adamw, averages, self.tokens(micro), self.text(micro))
        self.ready_train = micro
        for _ in range(WARM_UP):
            self.step()

    def step(self):
        adamw, averages, tokens, text = self.state
        train = self.config["train"]
        self.twin.train()
        b = tokens.shape[0]
        t = 1.0 - torch.rand(b, device=self.device)
        mask = 1.0 - torch.rand(tokens.shape, device=self.device) <= t[:, None, None]
        noised = torch.where(mask, self.tokens(b), tokens)
        drop = torch.rand(b, 1, 1, device=self.device) <= train["cond_drop"]
        text = torch.where(drop, torch.zeros_like(text[:1]), text)
        with self.autocast():
            logits = self.call("train")(noised, t, text).float()
        surprise = F.cross_entropy(logits, tokens, label_smoothing=train["label_smoothing"], reduction="none")
        weight = 1.0 - (~mask).float() * (1.0 - t)[:, None, None] * (1.0 - train["min_val"])
        loss = ((surprise * weight).sum((1, 2)) / weight.sum((1, 2))).mean()
        loss.backward()
        right = (logits.detach().argmax(1) == tokens).float().mean()
        norm = nn.utils.clip_grad_norm_(self.params, train["optim"]["max_norm"], foreach=True)
        if torch.isfinite(norm):
            adamw.step()
        adamw.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(averages, self.params, 1.0 - train["ema_decay"])
        value = float(loss.detach()) + 0.0 * float(right)
        self.wait()
        return value

    def sample(self, b, times):
        if self.state is not None:
            self.release()
        width = self.config["model"]["clip_embd"]
        one = lambda: (self.text(b), torch.randn(b, width, device=self.device) * 0.1 if width else None)
        cond, null = one(), one()
        if self.ready_sample != b:
            for _ in range(WARM_UP if self.compiled else 1):
                self.sample_once(b, cond, null)
            self.ready_sample = b
        self.reset_peak()
        each = []
        for _ in range(times):
            start = time.perf_counter()
            self.sample_once(b, cond, null)
            each.append(1e3 * (time.perf_counter() - start))
        ms = statistics.median(each)
        return {"sample": {"batch": b, "passes": self.config["sample"]["steps"], "each_ms": each, "ms": ms, "ms_per_picture": ms / b, "memory": self.peak()}}

    @torch.no_grad()
    def sample_once(self, b, cond, null):
        plan = self.config["sample"]
        steps, line = plan["steps"], lambda pair, n: torch.linspace(*pair, n).tolist()
        ts = line((plan["t_start"], plan["t_end"]), steps + 1)
        temperatures, scales = line(plan["temperature"], steps), line(plan["cfg_scale"], steps)
        self.twin.eval()
        noise = tokens = self.tokens(b)
        for i in range(steps):
            t = torch.full((b,), ts[i], device=self.device)
            with self.autocast():
                logits = self.guess(tokens, t, cond)
                if scales[i] != 1.0 and i < plan["guided_steps"]:
                    # a compiled network gives its output's memory away with the next call
                    logits = logits.clone() * scales[i]
                    logits = logits + self.guess(tokens, t, null) * (1.0 - scales[i])
            probs = (logits.float() / temperatures[i]).softmax(1).permute(0, 2, 3, 1)
            tokens = torch.multinomial(probs.reshape(-1, probs.shape[-1]), 1).view(b, self.grid, self.grid)
            t_next = ts[i + 1] if i < plan["renoise_steps"] else 0.0
            again = 1.0 - torch.rand(tokens.shape, device=self.device) <= t_next
            tokens = torch.where(again, noise, tokens)
        self.wait()
        return tokens

    def guess(self, tokens, t, cond):
        if self.compiled and self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        return self.call("sample")(tokens, t, cond[0], cond[1])

    def reset_peak(self):
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self):
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

    def release(self):
        self.state, self.ready_train = None, None
        for p in self.params:
            p.grad = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return {"released": True}

    def answer(self, words):
        try:
            if words[:1] == ["release"]:
                return self.release()
            what, n, times = words[0], int(words[1]), int(words[2])
            return {"train": self.train, "sample": self.sample}[what](n, times)
        except torch.OutOfMemoryError as error:
            first = str(error).splitlines()[0]
        except Exception as error:  # the others go on being measured
            first = (str(error).splitlines() or [type(error).__name__])[0]
        self.release()
        return {"error": first[:300]}


def say(value):
    print(json.dumps(value), flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("config")
    args.add_argument("--device", default="cuda")
    args.add_argument("--compile", metavar="MODE", help="of torch.compile: default, max-autotune; or blocks, or aot_eager, which only traces")
    args.add_argument("--ready", default="", help="what to compile before the first request: sample:1,train:16")
    args = args.parse_args()
    bench = Bench(json.load(open(args.config)), args.device, args.compile)
    for item in filter(None, args.ready.split(",")):
        what, n = item.split(":")
        start = time.perf_counter()
        answer = bench.answer([what, n, "1"])
        say({"compiled": item, "seconds": time.perf_counter() - start, "error": answer.get("error")})
        bench.release()
    say({"ready": True, "parameters": sum(p.numel() for p in bench.params)})
    for line in sys.stdin:
        say(bench.answer(line.split()))


if __name__ == "__main__":
    main()
