"""Turns a run of the kit into docs/gpu.md: `python3 scripts/gpu/report.py OUT [--out FILE]`. Nothing is typed by hand.

Several folders may be named: of each stage the last run counts.
"""
import argparse
import json
import os
import re

HEAD = """# On a GPU

Results of the kit that tests, measures and trains on a machine with a GPU. `scripts/gpu/report.py` wrote this page from its
results.
"""

HOW = """
## Run it yourself

```
scripts/gpu/pack.sh              # target/gpu-kit: the program, its tests, NCCL, the PyTorch peer; under 20 MB
target/gpu-kit/run.sh OUT        # nine minutes on a machine with a GPU and a Python with torch 2.11
python3 scripts/gpu/report.py OUT --out docs/gpu.md
```

`pack.sh FOLDER --whole` adds data and fixtures, for a machine without the repository. There it needs no network, compiler or
Rust: libtorch and CUDA are those of the torch that `python3` finds (`PAELLA_PYTHON` names another one). `run.sh OUT --only
bench,profile` runs some stages, `--budget SECONDS` sets the time, `--config FILE` what is trained. Every stage writes its line
to `OUT/results.jsonl` as it ends, a failed one never stops the next. `make gpu-rehearsal` runs all of it on the CPU.

| stage | what |
| --- | --- |
| `doctor` | card, driver, libtorch, NCCL |
| `parity` | every fixture of the networks, sampler and training on the card, TF32 off; bf16, recompute, channels_last, replayed sampling; 200 updates beside the CPU's |
| `ranks` | NCCL with one rank, two ranks; a rank killed, a rank stopped |
| `survive` | kill -9 and resume; what a checkpoint costs; SIGINT |
| `session` | the prompt's commands, one after the other |
| `train` | `configs/scenes-gpu.ron`, or another one, for the time that is left, scored; model and sheets come back |
| `bench` | the 1 B denoiser of v3: training steps and sampling (recorded passes, and `plain` without), by turns with PyTorch eager and `torch.compile` |
| `profile` | a trace of one step and one picture, the longest kernels |
"""


STAGES = ["doctor", "parity", "ranks", "survive", "session", "train", "bench", "profile"]


class Run:
    """Lines of all folders: the last about, and the parts and end of each stage's last run."""

    def __init__(self, folders):
        self.about, self.parts, self.ends, self.complete = {}, {}, {}, False
        for folder in folders:
            fresh = set()
            for text in open(os.path.join(folder, "results.jsonl")):
                line = json.loads(text)
                stage = line.pop("stage")
                if stage == "kit":
                    self.about = line.get("about", self.about)
                    continue
                if stage not in fresh:
                    fresh.add(stage)
                    self.parts[stage], self.ends[stage] = [], None
                if "part" in line:
                    self.parts[stage].append(line)
                else:
                    self.ends[stage] = line

    def named(self, stage, name):
        return next((line for line in self.parts.get(stage, []) if line["part"] == name), None)


def table(head, rows):
    if not rows:
        return ""
    # of a path of that machine only the last part
    clean = lambda cell: re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+([\w.+-]+)", r"\1", str(cell)).replace("|", "\\|").replace("\n", " ")
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(clean, row)) + " |" for row in lines) + "\n"


def number(value, digits=1, none="-"):
    return none if value is None else f"{value:,.{digits}f}"


def gib(value):
    return "-" if value is None else f"{value / 2**30:.1f}"


def percent(value):
    return "-" if value is None else f"{100 * value:.1f} %"


def small(value):
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"


def state(line):
    return "ok" if line and line.get("ok") else "FAILED"


def machine(run):
    about = run.about
    cards = ["; ".join(about.get("cards") or []) or "no card: " + about.get("device", "")]
    build = about.get("build") or {}
    rows = [
        ["card", cards[0]],
        ["machine", f"{about.get('cpu')}, {about.get('memory_gib')} GiB"],
        ["libtorch", about.get("libtorch")],
        ["paella", f"{build.get('commit')} of {build.get('date')}, {build.get('rustc')}"],
        ["when", about.get("date")],
    ]
    found = ((run.ends.get("doctor") or {}).get("result") or {}).get("findings") or {}
    rows[1:1] = [[f"doctor: {key}", found[key]["found"]] for key in ("CUDA", "card", "driver", "NCCL") if key in found]
    note = "\n**A rehearsal on the CPU with tiny sizes: no figure here says anything about a GPU.**\n" if about.get("tiny") else ""
    return note + "\n" + table(["", ""], rows)


def stages(run):
    rows = []
    for stage, end in run.ends.items():
        if end is None:
            rows.append([stage, "cut off", "", ""])
        else:
            rows.append([stage, state(end), f"{end['seconds']} s", end.get("error", "")[:200]])
    rows += [[stage, "not run", "", ""] for stage in STAGES if stage not in run.ends]
    return "\n## Stages\n\n" + table(["stage", "", "took", "error"], rows)


def checks(run):
    rows = []
    fixtures = run.named("parity", "fixtures")
    if fixtures:
        passed, failed = fixtures["passed"], fixtures["failed"]
        worst = max((f["share_of_tolerance"] for f in passed.values()), default=0.0)
        name = max(passed, key=lambda k: passed[k]["share_of_tolerance"]) if passed else ""
        rows.append([f"fixtures: {len(passed)} pass, {len(failed)} fail", state(fixtures), f"worst {worst:.2f} of the CPU's tolerance ({name})"])
        rows += [[f"fixture {name}", "FAILED", "; ".join(why)[:300]] for name, why in failed.items()]
    for stage in ("parity", "ranks", "survive"):
        for line in run.parts.get(stage, []):
            if line["part"] != "fixtures":
                rows.append([f"{stage}: {line['part'].replace('_', ' ')}", state(line) if "ok" in line else "", found(line)])
    return "\n## Does it compute, survive, stop\n\n" + table(["what", "", "found"], rows) if rows else ""


def found(line):
    words = []
    for key, value in line.items():
        if key in ("part", "ok") or value in (None, "", [], {}):
            continue
        if isinstance(value, float):
            value = f"{value:.2g}"
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v:.1e}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items())
        if isinstance(value, list):
            value = "; ".join(map(str, value))
        words.append(f"{key.replace('_', ' ')}: {value}" if key not in ("figures", "said") else str(value))
    return "; ".join(words)[:400]


def trained(run):
    outcome, scores = run.named("train", "trained"), run.named("train", "scores")
    if not outcome:
        return ""
    rows = [
        ["config", outcome["config"]],
        ["steps", f"tokenizer {outcome['tokenizer_steps']:,}, denoiser {outcome['denoiser_steps']:,} of {outcome['of']:,}"],
        ["took", f"{outcome['seconds']:.0f} s"],
        ["loss, accuracy", f"{outcome['loss']:.3f}, {percent(outcome['accuracy'])}"],
        ["at the end", f"{outcome['pictures_per_s']:,.0f} pictures/s, MFU {percent(outcome.get('mfu'))}, {gib(outcome.get('memory'))} GiB"],
        ["model", f"{outcome['model_mb']:.0f} MB in half precision"],
    ]
    if scores:
        rows.append(["tokenizer, PSNR", f"{scores['psnr_db']:.1f} dB, {percent(scores['codes_used'])} of the codes in use"])
        for key, name in (("concepts_train", "training captions"), ("concepts_held_out", "concept and style held apart")):
            if scores.get(key):
                s = scores[key]
                rows.append([f"right concept, {name}", f"rank 1 {percent(s['rank1'])}, rank 5 {percent(s['rank5'])}, of {s['captions']} captions among {s['candidates']:.0f} pictures"])
    text = "\n## Trained\n\n" + table(["", ""], rows)
    scenes = ((scores or {}).get("scenes") or {}).get("generated") or []
    if scenes:
        keys = ["count", "shape", "colour", "size", "relation", "background", "whole"]
        rows = [[s["kind"], s["objects"], s["captions"], *[percent(s.get(key)) for key in keys]] for s in scenes]
        text += "\nGenerated scenes, read by rule:\n\n" + table(["captions", "objects", "asked", *keys[:-1], "whole caption"], rows)
    return text


def best(lines, key="ms"):
    """The run of a peer with the lower median: rounds alternate, so the better one was disturbed less."""
    good = [line for line in lines if not line.get("error") and line.get(key) is not None]
    return min(good, key=lambda line: line[key]) if good else None


def speed(run):
    parts = [line for line in run.parts.get("bench", []) if line["part"] == "measured"]
    if not parts:
        return ""
    about = run.named("bench", "denoiser") or {}
    text = f"\n## Speed\n\n`{about.get('config')}`: {about.get('parameters', 0):,} parameters, {about.get('flops_of_a_picture', 0) / 1e9:,.1f} GFLOP a picture in training, random weights and tokens, text as vectors. PyTorch runs the same network (torch.compile of a training step goes without CUDA graphs)."
    late = [line for line in run.parts["bench"] if line["part"] == "torch.compile" and line.get("error")]
    text += "".join(f" torch.compile in mode `{line['mode']}` was not ready in time for `{line['of']}`." for line in late) + "\n"
    peers = list(dict.fromkeys(line["peer"] for line in parts))
    keys = list(dict.fromkeys((line["what"], line["n"]) for line in parts))
    train, sample = [], []
    for what, n in keys:
        for peer in peers:
            lines = [line for line in parts if (line["peer"], line["what"], line["n"]) == (peer, what, n)]
            if not lines:
                continue
            one = best(lines)
            rounds = ", ".join(number(line.get("ms")) for line in lines)
            if one is None:
                (train if what == "train" else sample).append([n, peer, lines[-1]["error"][:80]] + [""] * (5 if what == "train" else 2))
            elif what == "train":
                plan = one.get("plan") or {}
                planned = f"{plan['ms']:.0f} ms, MFU {percent(plan['mfu'])}, {gib(plan['memory'])} GiB, products at {100 * plan['share']:.0f} %" if plan else "-"
                train.append([n, peer, rounds, number(one["pictures_per_s"]), percent(one.get("mfu")), gib(one.get("memory")), planned, reached(one, plan)])
            else:
                sample.append([n, peer, rounds, number(one["ms_per_picture"]), gib(one.get("memory"))])
    text += "\nA training step; of each round the median, ms:\n\n" + table(["pictures", "by", "ms", "pictures/s", "MFU", "GiB", "planned", "products reach"], train)
    passes = next((line.get("passes") for line in parts if line.get("passes")), "?")
    text += f"\nSampling, {passes} passes with guidance, from noise to tokens. `paella` samples from recorded passes with weights of products stored in bf16 and both guesses of guidance in one batch (a session with `replay` casts its weights in every pass); `plain` launches kernel by kernel:\n\n" + table(["pictures", "by", "ms", "ms a picture", "GiB"], sample)
    return text


def reached(one, plan):
    """The share of the peak with which the plan would give the measured time: a row for src/cost/share.rs."""
    rest = one["ms"] - (plan["ms"] - plan["products_ms"]) if plan else 0.0
    return percent(plan["share"] * plan["products_ms"] / rest) if rest > 0 else "-"


def kernels(run):
    end = run.ends.get("profile")
    result = (end or {}).get("result") or {}
    text = ""
    for key, name in (("train", "a training step"), ("sample", "sampling one picture")):
        if result.get(key):
            rows = [[f"`{k['name'][:100]}`", number(k["ms"], 2), k["calls"]] for k in result[key]]
            text += f"\n## The longest kernels of {name}\n\n" + table(["kernel", "ms", "calls"], rows)
    return text


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("folders", nargs="+")
    args.add_argument("--out", default="docs/gpu.md")
    args = args.parse_args()
    run = Run(args.folders)
    text = HEAD + machine(run) + stages(run) + checks(run) + trained(run) + speed(run) + kernels(run) + HOW
    with open(args.out, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
