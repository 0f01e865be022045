"""The stages of the kit, in the order in which they are worth having."""
import json
import os
import re
import shutil
import signal
import sys
import time

from speed import bench, prepare_twin, profile
from together import ranks
from kit import Late, cards, tail
from runs import config, losses, most_apart, newest, weights


def prepare(kit, wanted):
    """What takes long and needs no GPU to itself goes on beside the first stages."""
    if "PAELLA_CUDA" in kit.env and not os.path.exists(kit.env["PAELLA_CUDA"]) and "ranks" in wanted:
        kit.shared["nccl"] = compile_nccl(kit)
    if "bench" in wanted:
        prepare_twin(kit)


def compile_nccl(kit):
    """libpaella_cuda.so is compiled here, with the headers beside torch, where the packed folder has none."""
    torch = os.path.dirname(kit.env["LD_LIBRARY_PATH"].split(":")[0])
    nvidia, include = os.path.join(os.path.dirname(torch), "nvidia"), os.path.join(torch, "include")
    headers = [include, f"{include}/torch/csrc/api/include", f"{nvidia}/cu13/include", f"{nvidia}/nccl/include", "/usr/local/cuda/include"]
    command = ["g++", "-std=c++17", "-O2", "-fPIC", "-shared", "-D_GLIBCXX_USE_CXX11_ABI=1", kit.place("src/shim/nccl.cpp"), kit.place("src/shim/graph.cpp")]
    command += [f"-I{folder}" for folder in headers]
    command += ["-Wl,--no-as-needed", f"-L{torch}/lib", "-ltorch_cuda", "-ltorch_cpu", "-lc10_cuda", "-lc10", "-o", kit.env["PAELLA_CUDA"]]
    return kit.start(command, name="nccl-compile") if shutil.which("g++") else None


# ---- 1


def doctor(kit):
    code, text = kit.run(kit.program("doctor", "--json"), check=False)
    rows = [line for line in text.splitlines() if line.startswith("[")]
    if not rows:
        raise RuntimeError(f"exit code {code}: {text[-500:]}")
    found = {row["what"]: row for row in json.loads(rows[0])}
    seen = not kit.device.startswith("cuda") or " GPU" in found["CUDA"]["found"] and not found["CUDA"]["remedy"]
    return {"ok": code == 0 and seen, "findings": found, "cards": cards()}


# ---- 2

PARITY = [
    "gpu::bf16_is_within_two_percent_of_the_reference",
    "gpu::ways_to_compute_lead_to_the_same_losses_on_the_device",
    "gpu::replayed_passes_guess_what_bf16_passes_guess",
    "gpu::two_hundred_updates_have_the_losses_of_the_cpu",
]


def parity(kit):
    program = kit.unpack("it")
    # small tensors: more threads would wait for each other longer than they compute
    env = {"PAELLA_TEST_DEVICE": kit.device, "PAELLA_FIXTURES": kit.place("tests/fixtures"), "OMP_NUM_THREADS": "2"}
    flags = ["--nocapture", "--test-threads", "1"]
    code, text = kit.run([program, "parity::every_fixture_of_the_folder", "--exact", *flags], env=env, name="parity", check=False)
    passed = re.findall(r"passed   (\S+): (\d+) outputs, at most ([\d.]+) of a tolerance", text)
    failed = re.findall(r"FAILED   (\S+):\n((?:  .*\n)*)", text)
    fixtures = {
        "passed": {name: {"outputs": int(n), "share_of_tolerance": float(worst)} for name, n, worst in passed},
        "failed": {name: [line.strip() for line in why.splitlines()] for name, why in failed},
    }
    if not passed:
        fixtures["said"] = text[-800:]
    kit.part("fixtures", ok=code == 0 and bool(passed), **fixtures)
    results = {"fixtures": code == 0 and bool(passed)}
    for name in PARITY:
        short = name.split("::")[1]
        kit.need(5)
        code, text = kit.run([program, name, "--exact", *flags], env=env, name=short[:24], check=False)
        ran = "1 passed" in text
        figures = re.findall(r"figures: (.*)", text)
        results[short] = code == 0 and ran
        kit.part(short, ok=results[short], figures=figures, **({} if results[short] else {"said": text[-800:]}))
    results["pytorch twin"] = twin_is_equal(kit)
    return {"ok": all(results.values()), "checks": results, "fixtures_passed": len(passed), "fixtures_failed": len(failed)}


def twin_is_equal(kit):
    """The peer of the speed comparison computes the same."""
    if os.environ.get("PAELLA_LIBTORCH_LIB"):
        return True  # no torch for Python here: there is no comparison either
    command = [sys.executable, os.path.join(kit.root, "twin.py"), kit.place("tests/fixtures"), "--device", kit.device]
    code, text = kit.run(command, name="twin-check", check=False)
    kit.part("pytorch twin", ok=code == 0, said=text.strip()[-300:])
    return code == 0


# ---- 4


def survive(kit):
    """Killed and resumed; interrupted; what a checkpoint costs."""
    steps = 40 if kit.tiny else 120
    path = config(kit, "survive.ron", ("steps: 20", f"steps: {steps}"), ("every: 5", "every: 7"))
    train = lambda out, *more: kit.program("train", path, "--device", kit.device, "--json", "--resume", "auto", "--out", os.path.join(kit.work, out), *more)
    whole, again = kit.start(train("whole"), name="whole"), kit.start(train("again"), name="again")
    for child in (whole, again):
        if kit.wait(child) != 0:
            raise RuntimeError(tail(child.log))
    kills = killed(kit, train("killed"), steps)
    own, resumed = apart(kit, "whole", "again"), apart(kit, "whole", "killed")
    kit.part("kill -9", kills=kills, same_run_twice=own, killed_and_resumed=resumed)
    # where sums are made in another order every time, a resumed run may be as far off as the same run once more
    resumes = all(resumed[key] <= max(10 * own[key], 1e-5) for key in own)
    results = {"resumes": resumes, "kills": kills > 0}
    kit.part("checkpoint memory", **checkpoint_memory(kit, "whole"))
    results["train stops"] = interrupted_train(kit, path)
    results["sample stops"] = interrupted_sample(kit)
    return {"ok": all(results.values()), "checks": results, "bit_for_bit": resumed["weights"] == 0.0}


def killed(kit, command, steps):
    """Killed wherever it is, and started again until it is done; how often that was."""
    kills, log = 0, os.path.join(kit.work, "killed", "log.jsonl")
    lines = lambda: sum(1 for _ in open(log)) if os.path.exists(log) else 0
    for i in range(3):
        child, before = kit.start(command, name=f"killed-{i}"), lines()
        while child.poll() is None and lines() < before + 3 + 5 * i:
            kit.need(1)
            time.sleep(0.01)
        if child.poll() is not None:
            break
        kit.kill(child)
        kills += 1
    kit.run(command, name="killed-last")
    return kills


def apart(kit, a, b):
    """The largest difference of losses and of last weights of two runs."""
    a, b = os.path.join(kit.work, a), os.path.join(kit.work, b)
    return {"loss": most_apart(losses(a), losses(b)), "weights": most_apart(weights(newest(a)), weights(newest(b)), absolute=True)}


def checkpoint_memory(kit, out):
    """Most bytes in use in the steps after a checkpoint, and in the others."""
    rows = [json.loads(line) for line in open(os.path.join(kit.work, out, "log.jsonl"))][5:]
    after = [row["memory"] for row in rows if row["step"] % 7 == 1 and row.get("memory")]
    other = [row["memory"] for row in rows if row["step"] % 7 != 1 and row.get("memory")]
    return {"after_a_checkpoint": max(after, default=None), "else": max(other, default=None)}


def interrupted_train(kit, path):
    out = os.path.join(kit.work, "interrupted")
    command = kit.program("train", path, "--device", kit.device, "--json", "--set", "train.steps=1000000", "--out", out)
    child = kit.start(command, name="sigint-train")
    log = os.path.join(out, "log.jsonl")
    while child.poll() is None and not (os.path.exists(log) and sum(1 for _ in open(log)) > 5):
        kit.need(1)
        time.sleep(0.02)
    start = time.monotonic()
    os.kill(child.pid, signal.SIGINT)
    code = kit.wait(child, 60)
    text = open(child.log).read()
    last = json.loads(open(log).read().splitlines()[-1])["step"]
    kept = newest(out)
    ok = code == 130 and '"finished":false' in text  # 128 and SIGINT's number and kept.endswith(f"{last:07}")
    kit.part("SIGINT, train", ok=ok, code=code, seconds=time.monotonic() - start, last_step=last, checkpoint=os.path.basename(kept))
    return ok


def interrupted_sample(kit):
    command = kit.program("sample", "red apple, 3d emoji", "--model", "emoji-64", "--device", kit.device, "--steps", "1000", "--count", "16", "--out", os.path.join(kit.work, "sigint.png"))
    child = kit.start(command, name="sigint-sample")
    time.sleep(min(2.5, kit.left() / 2))
    early = child.poll() is not None
    start = time.monotonic()
    if not early:
        os.kill(child.pid, signal.SIGINT)
    code = kit.wait(child, 60)
    said = tail(child.log)
    ok = not early and code == 130 and "panicked" not in said  # 128 and SIGINT's number
    kit.part("SIGINT, sample", ok=ok, code=code, seconds=time.monotonic() - start, said=said[-300:], early=early)
    return ok


def session(kit):
    """The prompt's commands on the device, one after the other."""
    script, runs = os.path.join(kit.root, "session.txt"), os.path.join(kit.work, "session")
    code, text = kit.run(kit.program("--script", script, "--device", kit.device, "--runs", runs), check=False)
    done = [line[2:] for line in text.splitlines() if line.startswith("> ")]
    return {"ok": code == 0, "commands": len(done), **({} if code == 0 else {"last": done[-1:], "said": text[-600:]})}


# ---- 5

# What a rehearsal trains in place of the config's networks.
TINY = [
    "data.limit=Some(64)",
    "model.levels=[(c_hidden: 32, nhead: 2, blocks: 1, layout: [C, T, A], dropout: 0.1)]",
    "tokenizer.model.c_hidden=32",
    "tokenizer.train.batch=8",
    "train.global_batch=8",
    "eval.captions=4",
]


def train(kit):
    """As many updates as the time allows, with a learning rate that comes to its end; then scores and pictures."""
    path = os.path.abspath(kit.args.config) if os.path.exists(kit.args.config) else kit.place(kit.args.config)
    out = os.path.join(kit.work, "trained")
    more = [word for change in (TINY if kit.tiny else []) + kit.args.set for word in ("--set", change)]
    sheets = ["--set", f"train.log.samples_every={10 if kit.tiny else 1000}"]
    reserve, writing = (25, 5) if kit.tiny else (35, 10)  # for scores and pictures; for checkpoint and model
    start, first = time.monotonic(), 6 if kit.tiny else 300

    def go(*words, steps=None, name):
        limit = [] if steps is None else ["--steps", str(steps)]
        command = kit.program("train", path, "--device", kit.device, "--json", "--resume", "auto", "--out", out, *more, *sheets, *limit, *words)
        child = kit.start(command, name=name)
        while child.poll() is None and kit.left() > reserve + writing:
            time.sleep(0.1)
        if child.poll() is None:
            os.kill(child.pid, signal.SIGINT)  # it writes what it has
        if kit.wait(child) not in (0, 130):
            raise RuntimeError(tail(child.log))

    go(steps=first, name="train-1")
    whole, speed = planned(kit, path), rate(out, "tokenizer")
    share = 0.3 * (kit.left() - reserve - writing)
    tokenizer = min(whole["tokenizer"]["train"]["steps"], max(first + 1, int(share * speed)))
    quantize = min(whole["tokenizer"]["train"]["quantize_after"], max(1, tokenizer // 4))
    fit = ["--set", f"tokenizer.train.steps={tokenizer}", "--set", f"tokenizer.train.quantize_after={quantize}"]
    go(*fit, steps=tokenizer - first + first, name="train-2")
    speed = rate(out, "denoiser")
    # starting anew takes its time as well
    denoiser = min(whole["train"]["steps"], max(first + 1, int(0.9 * (kit.left() - reserve - writing - 5) * speed)))
    go(*fit, "--set", f"train.steps={denoiser}", name="train-3")
    model = os.path.join(out, "model")
    shutil.copytree(model, os.path.join(kit.out, "model"), dirs_exist_ok=True)
    size = sum(os.path.getsize(os.path.join(model, f)) for f in os.listdir(model))
    rows = [json.loads(line) for line in open(os.path.join(out, "log.jsonl"))]
    with open(os.path.join(kit.out, "train-log.jsonl"), "w") as log:
        log.writelines(json.dumps(row) + "\n" for i, row in enumerate(rows) if i % 50 == 0 or i + 1 == len(rows))
    last = rows[-1]
    outcome = {"config": os.path.basename(path), "tokenizer_steps": tokenizer, "denoiser_steps": last["step"], "of": denoiser, "loss": last["loss"], "accuracy": last["accuracy"]}
    outcome.update(seconds=time.monotonic() - start, model_mb=size / 1e6, pictures_per_s=last["images_per_s"], mfu=last.get("mfu"), memory=last.get("memory"))
    kit.part("trained", **outcome)
    take_sheets(kit, out)
    _, text = kit.run(kit.program("eval", model, "--device", kit.device, "--json"), name="eval")
    scores = json.loads([line for line in text.splitlines() if line.startswith("{")][-1])
    kit.part("scores", **scores)
    draw(kit, path, model)
    return {**outcome, "scores": scores}


def planned(kit, path):
    _, text = kit.run(kit.program("config", "show", path, "--json"), name="config")
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def rate(out, phase):
    """Steps a second of a phase, without its first ones."""
    rows = [json.loads(line) for line in open(os.path.join(out, "log.jsonl"))]
    took = [row["took"] for row in rows if row["phase"] == phase]
    took = took[len(took) // 3 :]
    return len(took) / sum(took) if took else 1.0


def take_sheets(kit, out):
    folder, to = os.path.join(out, "samples"), os.path.join(kit.out, "sheets")
    os.makedirs(to, exist_ok=True)
    for name in sorted(os.listdir(folder) if os.path.isdir(folder) else [])[-8:]:
        shutil.copy(os.path.join(folder, name), to)


TEXTS = {
    "Scenes": ["a small red star above a large blue ring on sky", "a large green heart on sand", "a small purple circle left of a large orange square"],
    "Emoji": ["red apple, 3d emoji", "tiger face, noto emoji", "strawberry, noto emoji"],
}


def draw(kit, path, model):
    """Pictures of the trained model, for texts of its data."""
    config = open(path).read()
    texts = next((texts for source, texts in TEXTS.items() if f"source: {source}" in config), [])
    for i, text in enumerate(texts):
        out = os.path.join(kit.out, "sheets", f"sample-{i}.png")
        try:
            kit.run(kit.program("sample", text, "--model", model, "--device", kit.device, "--count", "8", "--seed", "1", "--out", out), name="sample")
        except (Late, RuntimeError) as error:
            kit.part("pictures", error=str(error))
            return


# Seconds of each on an H100; `None` has what the others leave. Their order is the order of their worth.
STAGES = [
    ("doctor", doctor, 60),
    ("parity", parity, 90),
    ("ranks", ranks, 70),
    ("survive", survive, 70),
    ("session", session, 30),
    ("train", train, None),
    ("bench", bench, 150),
    ("profile", profile, 30),
]
