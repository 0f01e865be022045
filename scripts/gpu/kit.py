"""Proves, measures and trains on a machine with a GPU: one JSON line for each stage, in OUT/results.jsonl.

    run.sh OUT [--budget SECONDS] [--only STAGE,..] [--skip STAGE,..] [--config FILE] [--set FIELD=VALUE] [--few] [--tiny]

Every stage has a time of its own; one that fails or comes to its end never stops the next. What a stage has found is written
as soon as it is known, so a run that is cut off keeps what it has. `--tiny` takes sizes that a CPU can do: a rehearsal.
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))


PART = 15 << 20


class Late(Exception):
    """A stage's time is over."""


class Kit:
    """Where everything is, and what is still to be paid for in seconds."""

    def __init__(self, args):
        self.args, self.tiny, self.device = args, args.tiny, args.device
        self.root = HERE  # the packed folder
        self.end = time.monotonic() + args.budget
        self.work = tempfile.mkdtemp(prefix="paella-gpu-")
        self.front = os.path.abspath(args.out)
        self.out = os.path.join(self.work, "out") if args.few else self.front
        for folder in (self.front, os.path.join(self.out, "logs")):
            os.makedirs(folder, exist_ok=True)
        self.lines = open(os.path.join(self.front, "results.jsonl"), "a")
        self.children, self.logs, self.lock = [], 0, threading.Lock()
        self.stage, self.deadline, self.shared = "kit", self.end, {}
        self.repository = repository(self.root)
        self.env = self.environment()
        self.paella = self.unpack("paella")

    # ---- where things are

    def place(self, name):
        """A file or folder of the kit, else of the repository around it."""
        for root in filter(None, [self.root, self.repository]):
            path = os.path.join(root, name)
            if os.path.exists(path):
                return path
        raise FileNotFoundError(f"{name} is neither in {self.root} nor in a repository around it")

    def unpack(self, name):
        """A program of the kit, ready to run; one that lies unpacked in the kit is taken as it is."""
        path = os.path.join(self.root, name)
        if os.path.exists(path):
            return path
        path = os.path.join(self.work, name)
        if not os.path.exists(path):
            with open(path, "wb") as file:
                decompress(os.path.join(self.root, name + ".xz"), file)
            os.chmod(path, 0o755)
        return path

    def environment(self):
        env = dict(os.environ)
        folders = libraries()
        env["LD_LIBRARY_PATH"] = ":".join(folders + list(filter(None, [env.get("LD_LIBRARY_PATH")])))
        env.update(PAELLA_HOME=self.root, OMP_WAIT_POLICY="passive", NO_COLOR="1")
        if not os.path.isdir(os.path.join(self.root, "assets")):
            env["PAELLA_ASSETS"] = self.place("assets")
        env.setdefault("XDG_DATA_HOME", os.path.join(self.work, "share"))
        if self.device.startswith("cpu"):
            env["OMP_NUM_THREADS"] = env.get("OMP_NUM_THREADS", "2")
        for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "PAELLA_FIXTURES"]:
            env.pop(name, None)
        nccl = os.path.join(self.work, "libpaella_cuda.so")
        if "PAELLA_CUDA" not in env and not os.path.exists(os.path.join(self.root, "libpaella_cuda.so")):
            env["PAELLA_CUDA"] = nccl
        return env

    # ---- lines

    def line(self, **fields):
        with self.lock:
            self.lines.write(json.dumps(fields) + "\n")
            self.lines.flush()
            os.fsync(self.lines.fileno())

    def part(self, name, **fields):
        """Something that a stage knows before it ends."""
        self.line(stage=self.stage, part=name, **fields)

    def bring(self):
        """With `--few`: what came out so far as few files of at most 15 MiB, for places from which no more come back."""
        if not self.args.few:
            return
        model = os.path.join(self.out, "model")
        with tarfile.open(os.path.join(self.work, "rest.tar.gz"), "w:gz") as rest:
            rest.add(self.out, "out", filter=lambda item: None if item.name.startswith("out/model") else item)
        if os.path.getsize(rest.name) <= PART:
            shutil.copy(rest.name, os.path.join(self.front, "rest.tar.gz"))
        first = os.path.join(self.front, "model.tar.0")
        if not os.path.isdir(model) or os.path.exists(first):
            return
        with tarfile.open(os.path.join(self.work, "model.tar"), "w") as tar:
            tar.add(model, "model")
        size = os.path.getsize(tar.name)
        if size > 3 * PART:
            self.line(stage="kit", note=f"the model, {size >> 20} MiB, is too large to come back as few files")
            return
        with open(tar.name, "rb") as whole:
            for i in range(-(-size // PART)):
                with open(f"{first[:-1]}{i}", "wb") as part:
                    part.write(whole.read(PART))

    # ---- time

    def left(self):
        return self.deadline - time.monotonic()

    def need(self, seconds):
        if self.left() < seconds:
            raise Late(f"{self.left():.0f} s left, {seconds:.0f} wanted")

    # ---- processes

    def start(self, command, env=None, cwd=None, stdin=subprocess.DEVNULL, stdout=None, name=None):
        """A process in a group of its own; what it says goes into a file of OUT/logs."""
        with self.lock:
            self.logs += 1
            log = os.path.join(self.out, "logs", f"{self.logs:02}-{name or self.stage}.txt")
        file = open(log, "w")
        file.write(" ".join(command) + "\n")
        file.flush()
        child = subprocess.Popen(
            command,
            env={**self.env, **(env or {})},
            cwd=cwd or self.work,
            stdin=stdin,
            stdout=file if stdout is None else stdout,
            stderr=file,
            text=True,
            start_new_session=True,
        )
        child.log = log
        self.children.append(child)
        return child

    def wait(self, child, seconds=None):
        """Its exit code; a process that takes longer than its stage has is ended."""
        try:
            return child.wait(max(0.1, min(self.left(), seconds or 1e9)))
        except subprocess.TimeoutExpired:
            self.kill(child)
            raise Late(f"not done in time: {os.path.basename(child.log)}: {tail(child.log)}") from None

    def run(self, command, seconds=None, env=None, cwd=None, name=None, check=True):
        """Run to the end; exit code and everything it said."""
        child = self.start(command, env=env, cwd=cwd, name=name)
        code = self.wait(child, seconds)
        text = "".join(open(child.log, errors="replace").readlines()[1:])
        if check and code != 0:
            raise RuntimeError(f"exit code {code}: {tail(child.log)}")
        return code, text

    def kill(self, child):
        if child.poll() is None:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()

    def kill_all(self):
        for child in self.children:
            self.kill(child)

    def program(self, *words):
        return [self.paella, *words]


def repository(folder):
    """The checkout around a folder, if there is one."""
    while folder != os.path.dirname(folder):
        if os.path.isdir(os.path.join(folder, "assets", "emoji")) and os.path.isdir(os.path.join(folder, "tests", "fixtures")):
            return folder
        folder = os.path.dirname(folder)
    return None


def libraries():
    """Folders with libtorch and CUDA's libraries: PAELLA_LIBTORCH_LIB, else those of the torch that Python finds."""
    own = os.environ.get("PAELLA_LIBTORCH_LIB")
    if own:
        return own.split(":")
    import importlib.util

    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.origin:
        sys.exit("error: this Python has no torch\n  in: %s\n  hint: PAELLA_PYTHON names another Python for run.sh" % sys.executable)
    torch = os.path.dirname(spec.origin)
    nvidia = os.path.join(os.path.dirname(torch), "nvidia")
    found = [os.path.join(torch, "lib")]
    for name in sorted(os.listdir(nvidia)) if os.path.isdir(nvidia) else []:
        folder = os.path.join(nvidia, name, "lib")
        if os.path.isdir(folder):
            found.append(folder)
    return found


def decompress(packed, file):
    """An .xz file, with Python's own module or, where it was built without, the program."""
    try:
        import lzma
    except ImportError:
        subprocess.run(["xz", "-dc", packed], stdout=file, check=True)
        return
    with lzma.open(packed) as source:
        shutil.copyfileobj(source, file)


def tail(log, lines=6):
    text = open(log, errors="replace").read().strip().splitlines()
    return " | ".join(text[1:][-lines:])[-900:]


def about(kit):
    """What was run, where and with what."""
    build = {}
    try:
        build = json.load(open(kit.place("build.json")))
    except (OSError, ValueError):
        pass
    torch = kit.env["LD_LIBRARY_PATH"].split(":")[0]
    version = os.path.join(os.path.dirname(torch), "version.py")
    text = open(version).read() if os.path.exists(version) else ""
    found = re.search(r"__version__ = '([^']+)'", text)
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read())
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "build": build,
        "device": kit.device,
        "tiny": kit.tiny,
        "budget_s": kit.args.budget,
        "python": sys.version.split()[0],
        "libtorch": found.group(1) if found else torch,
        "cpu": f"{os.cpu_count()} x {model.group(1) if model else 'unknown'}",
        "memory_gib": int(memory.group(1)) >> 20 if memory else None,
        "cards": cards(),
    }


def cards():
    """As nvidia-smi tells them: name, memory, driver, and what the card does meanwhile."""
    query = "name,memory.total,driver_version,clocks.sm,temperature.gpu,power.limit"
    try:
        out = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20)
        return out.stdout.strip().splitlines() if out.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        return []


def run_stage(kit, name, function, seconds):
    """One stage from beginning to end; whatever happens becomes its line."""
    start = time.monotonic()
    kit.stage, kit.deadline = name, min(kit.end, start + seconds)
    fields = {"ok": False, "result": {}}
    try:
        if kit.left() < 2:
            raise Late("no time left")
        fields["result"] = function(kit) or {}
        fields["ok"] = fields["result"].pop("ok", True)
    except Late as late:
        fields["error"] = str(late)
    except Exception as error:  # the next stage is still worth having
        fields["error"] = f"{type(error).__name__}: {error}"[:1500]
        fields["trace"] = traceback.format_exc()[-1500:]
    took = time.monotonic() - start
    kit.line(stage=name, seconds=round(took, 1), allowed=round(seconds), **fields)
    say(f"{name:<10} {'ok' if fields['ok'] else 'FAILED':<7} {took:6.1f} s  {fields.get('error', '')[:300]}")
    return fields["ok"]


def say(text):
    print(text, flush=True)


def stopped(signum, _frame):
    raise SystemExit(f"stopped by signal {signum}")


def arguments():
    args = argparse.ArgumentParser(prog="run.sh", description=__doc__.splitlines()[0])
    args.add_argument("out", help="folder for what comes out")
    args.add_argument("--budget", type=float, default=540, help="seconds in all [540]")
    args.add_argument("--only", default="", help="stages, with commas between")
    args.add_argument("--skip", default="", help="stages, with commas between")
    args.add_argument("--config", default="configs/emoji-gpu.ron", help="what is trained in the stage `train`")
    args.add_argument("--bench-config", default="configs/paella-v3-1gpu.ron", help="whose denoiser is measured")
    args.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    args.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="another value in the config that is trained")
    args.add_argument("--few", action="store_true", help="leave few files in OUT: results.jsonl, rest.tar.gz, the model in parts (cat model.tar.* | tar x)")
    args.add_argument("--tiny", action="store_true", help="sizes that a CPU can do")
    args.add_argument("--stages", default="stages", help=argparse.SUPPRESS)  # another list of stages, for tests
    return args.parse_args()


def main():
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stopped)
    kit = Kit(args)
    sys.path.insert(0, HERE)
    stages = __import__(args.stages)
    failed, known = [], [name for name, _, _ in stages.STAGES]
    only = [name for name in args.only.split(",") if name] or known
    wanted = [s for s in stages.STAGES if s[0] in only and s[0] not in args.skip.split(",")]
    unknown = set(only + [n for n in args.skip.split(",") if n]) - set(known)
    if unknown:
        sys.exit(f"error: no stage `{', '.join(sorted(unknown))}`\n  hint: {', '.join(known)}")
    try:
        kit.line(stage="kit", about=about(kit), wanted=[s[0] for s in wanted])
        stages.prepare(kit, [s[0] for s in wanted])
        for i, (name, function, seconds) in enumerate(wanted):
            later = sum(s for _, _, s in wanted[i + 1 :] if s)
            own = seconds if seconds else max(0.0, kit.end - time.monotonic() - later)
            own = min(own, 120.0) if kit.tiny else own
            if not run_stage(kit, name, function, own):
                failed.append(name)
            kit.bring()
        kit.line(stage="kit", finished=True, failed=failed)
    finally:
        kit.kill_all()
        shutil.rmtree(kit.work, ignore_errors=True)
    sys.exit(1 if failed else 0)

