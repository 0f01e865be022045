//! All processes of a run as seen by one of them, and their exchanges other than gradients.

use super::beat::Beat;
use super::engine::Group;
use super::last::{LastWord, Speaker, at_place};
use super::launch::Launch;
use super::notes::{End, Notes, ranks};
use super::watch::PeerWatch;
use super::{Backend, DistConfig};
use crate::device::gpus;
use crate::error::{Error, Result};
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tch::{Device, Kind, Tensor};

/// One rank's view of all ranks. Handles are cheap to clone. In a single process every exchange does nothing.
#[derive(Clone, Default)]
pub struct World(Option<Rc<Joined>>);

/// Fields are dropped in this order: the watchdog before the group, the group before the store.
pub(super) struct Joined {
    watch: OnceCell<PeerWatch>,
    group: Group,
    /// Kept open for the group, and on rank 0 for all ranks.
    _store: Notes,
    pub speaker: Speaker,
    pub beat: Arc<Beat>,
    device: Device,
    pub bucket_bytes: u64,
}

/// Extra time limit of the engine itself, in case the watchdog fails.
const BACKSTOP: Duration = Duration::from_secs(60);

impl Joined {
    /// Runs an exchange to its end or, over NCCL, until it is queued on the GPU.
    pub fn exchange<T>(&self, act: impl FnOnce(&Group) -> Result<T>) -> Result<T> {
        self.beat.mark();
        let done = act(&self.group);
        self.beat.mark();
        done
    }

    /// Marks the group as broken, so that it is left without a goodbye.
    pub fn broken(&self) {
        self.group.broken.set(true);
    }

    /// Leaves the group at once, as broken.
    pub fn hang_up(&self) {
        self.broken();
        self.group.leave();
    }

    /// One number from each rank.
    fn numbers(&self, n: i64) -> Result<Vec<i64>> {
        let own = Tensor::from_slice(&[n]).to_device(self.device);
        let all = self.exchange(|group| group.all_gather(&own, self.speaker.launch.size))?;
        Ok(all.iter().map(|xs| xs.int64_value(&[0])).collect())
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

impl World {
    /// A single process.
    pub fn solo() -> Self {
        Self(None)
    }

    /// Joins the other ranks of `launch`. `device` is the kind of device the run asks for; each rank of a machine takes
    /// its own.
    ///
    /// Errors: ranks that do not arrive (named); a backend that does not fit the device or is not available.
    pub fn join(launch: &Launch, config: &DistConfig, device: Device) -> Result<Self> {
        let device = own_device(launch, device)?;
        let nccl = speaks_nccl(config.backend, device)?;
        let timeout = Duration::from_secs(config.timeout_s.max(1));
        let place = format!("{}:{}", launch.host, launch.port);
        let keeps_store = launch.rank == 0 && !launch.agent;
        let who = if launch.agent { "torchrun's agent" } else { "rank 0" };
        let no_store = |e: Error| {
            let what = match keeps_store {
                true => format!("rank 0 cannot open the meeting place: {}", e.faults()[0].what),
                false => format!("{who} was not reached within {} s", timeout.as_secs()),
            };
            let hint = "is MASTER_ADDR the host of rank 0, and MASTER_PORT free there and open between the hosts?";
            Error::dist(what, &place, hint)
        };
        let notes = Notes::open(launch, keeps_store, timeout).map_err(no_store)?;
        notes.meet(keeps_store, timeout).map_err(|e| at_place(e, &place))?;
        let ranks = (launch.rank, launch.size);
        let group = Group::form(&notes.store, nccl, device, ranks, timeout + BACKSTOP)
            .map_err(|e| at_place(e, &place))?;
        Ok(Self(Some(Rc::new(Joined {
            watch: OnceCell::new(),
            group,
            _store: notes,
            speaker: Speaker { launch: launch.clone(), timeout },
            beat: Arc::new(Beat::new("getting ready")),
            device,
            bucket_bytes: config.bucket_mb.max(1) << 20,
        }))))
    }

    /// Starts the watchdog of this rank. If common work makes no progress for `dist.timeout_s`, or another rank has
    /// failed and this one does not notice, `end` is called with the final report on another thread. It must end the
    /// process, because the main thread cannot. So too if `asked` says that the process is to stop, and another rank that
    /// this one waits for does not run.
    ///
    /// Errors: the store is not reached.
    pub fn watch(
        &self,
        asked: fn() -> bool,
        end: impl FnOnce(LastWord) + Send + 'static,
    ) -> Result<()> {
        let Some(world) = &self.0 else { return Ok(()) };
        let notes = Notes::open(&world.speaker.launch, false, world.speaker.timeout)?;
        let speaker = world.speaker.clone();
        world.watch.get_or_init(|| PeerWatch::start(&world.beat, speaker, notes, asked, end));
        Ok(())
    }

    /// Begins local work named `what`. Until the next exchange this rank waits for nobody and may take any time. If
    /// others wait for it, it is the one to blame.
    ///
    /// Read the results of all earlier exchanges first. Over NCCL they may otherwise still be pending.
    pub fn local_work(&self, what: &'static str) {
        if let Some(world) = &self.0 {
            world.beat.local_work(what);
        }
    }

    /// Leaves the group, reads how the other ranks ended, and returns the final report. A failure of this rank is
    /// reported as it is; a failed exchange is reported as the loss of the ranks that caused it.
    ///
    /// This takes a few seconds, to allow for ranks that are late. If the watchdog is already reporting, it waits for
    /// the end of the process.
    pub fn last_word(&self, error: &Error) -> LastWord {
        let Some(world) = self.joined() else {
            return LastWord { error: error.clone(), aloud: true, asked: false };
        };
        while !world.beat.end() {
            std::thread::park();
        }
        world.hang_up();
        let marks = world.beat.now().marks;
        let end = match error {
            Error::Dist(fault) => End::Lost { marks, why: fault.what.replace('\n', " ") },
            _ => End::Own,
        };
        world.speaker.say(&end, error)
    }

    /// Publishes this rank's step, for others to read if it is lost.
    pub fn at_step(&self, step: u64) {
        if let Some(world) = &self.0 {
            world.beat.at_step(step);
        }
    }

    pub(super) fn joined(&self) -> Option<&Rc<Joined>> {
        self.0.as_ref()
    }

    /// Number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |world| world.speaker.launch.rank)
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |world| world.speaker.launch.size)
    }

    /// Whether this is the rank that writes files and prints.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The device of this rank. None in a single process, which chooses for itself.
    pub fn device(&self) -> Option<Device> {
        self.0.as_ref().map(|world| world.device)
    }

    /// Replaces `xs` by the sum over all ranks.
    pub fn sum(&self, xs: &Tensor) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |world| world.exchange(|group| group.all_reduce(xs)))
    }

    /// Replaces `xs`, a floating point tensor, by the mean over all ranks.
    pub fn mean(&self, xs: &mut Tensor) -> Result<()> {
        self.sum(xs)?;
        if self.size() > 1 {
            let _ = tch::no_grad(|| xs.f_div_scalar_(self.size() as f64))?;
        }
        Ok(())
    }

    /// For each flag, whether any rank has it set.
    pub fn any<const N: usize>(&self, flags: [bool; N]) -> Result<[bool; N]> {
        let Some(world) = &self.0 else { return Ok(flags) };
        let all = Tensor::from_slice(&flags.map(i64::from)).to_device(world.device);
        world.exchange(|group| group.all_reduce(&all))?;
        let all = Vec::<i64>::try_from(all.to_device(Device::Cpu))?;
        Ok(std::array::from_fn(|i| all[i] > 0))
    }

    /// The maximum over all ranks.
    pub fn largest(&self, n: i64) -> Result<i64> {
        let Some(world) = &self.0 else { return Ok(n) };
        Ok(world.numbers(n)?.into_iter().max().unwrap_or(n))
    }

    /// Copies the `tensors` of rank 0 to all ranks.
    pub fn broadcast(&self, tensors: &[Tensor]) -> Result<()> {
        match &self.0 {
            Some(world) if !tensors.is_empty() => world.exchange(|group| group.broadcast(tensors)),
            _ => Ok(()),
        }
    }

    /// The text of each rank, in the order of ranks.
    pub fn gather(&self, text: &str) -> Result<Vec<String>> {
        let Some(world) = &self.0 else { return Ok(vec![text.to_string()]) };
        let lengths = world.numbers(text.len() as i64)?;
        let longest = lengths.iter().copied().max().unwrap_or(0).max(1);
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(longest as usize, 0);
        let bytes = Tensor::from_slice(&bytes).to_device(world.device);
        let all = world.exchange(|group| group.all_gather(&bytes, self.size()))?;
        let read = |(xs, length): (&Tensor, &i64)| -> Result<String> {
            let bytes = Vec::<u8>::try_from(xs.narrow(0, 0, *length).to_device(Device::Cpu))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        all.iter().zip(&lengths).map(read).collect()
    }

    /// The ranks whose text differs from that of rank 0.
    pub(super) fn unlike_first(&self, text: &str) -> Result<Vec<usize>> {
        let all = self.gather(text)?;
        Ok((0..all.len()).filter(|&rank| all[rank] != all[0]).collect())
    }

    /// Checks that tensors are equal bit for bit on all ranks. `place` names them in the error.
    ///
    /// Errors: the ranks whose tensors differ from those of rank 0.
    pub fn same(&self, tensors: &[Tensor], place: &str) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let differ = self.unlike_first(&format!("{:?}", fingerprint(tensors)))?;
        if differ.is_empty() {
            return Ok(());
        }
        let what = format!("{} and rank 0 have come apart: their weights differ", ranks(&differ));
        let hint = "resume from the last checkpoint; if it happens again, check that machine's memory and GPU";
        Err(Error::model(what, place, hint))
    }
}

/// GPU `local_rank` of the machine, or the CPU.
fn own_device(launch: &Launch, device: Device) -> Result<Device> {
    let Device::Cuda(_) = device else { return Ok(device) };
    let hint =
        "LOCAL_RANK numbers the processes of a machine, one for each GPU; torchrun and srun set it";
    let local = match launch.local_rank {
        Some(local) => local,
        None if launch.size == 1 => 0,
        None => {
            return Err(Error::dist("which GPU is this rank's?", "LOCAL_RANK is not set", hint));
        }
    };
    let count = gpus();
    if (local as i64) < count {
        return Ok(Device::Cuda(local));
    }
    let hint = format!("{hint}; each process must see all of them (Slurm: no `--gpus-per-task`)");
    Err(Error::dist(format!("no GPU {local}: libtorch sees {count}"), "LOCAL_RANK", hint))
}

/// Returns true for NCCL, false for Gloo. Gloo is slower on a GPU, but several ranks may share one.
fn speaks_nccl(backend: Backend, device: Device) -> Result<bool> {
    match (backend, device.is_cuda()) {
        (Backend::Auto, gpu) => Ok(gpu),
        (Backend::Gloo, _) => Ok(false),
        (Backend::Nccl, true) => Ok(true),
        (Backend::Nccl, false) => {
            let what = format!("{backend:?} cannot exchange tensors of {device:?}");
            Err(Error::dist(what, "dist.backend", "Auto takes Nccl on GPUs and Gloo on CPUs"))
        }
    }
}

/// A hash per tensor. Equal hashes mean equal bits, except for rare collisions.
fn fingerprint(tensors: &[Tensor]) -> Vec<i64> {
    let _no_grad = tch::no_grad_guard();
    let print = |xs: &Tensor| {
        let bits = xs.detach().contiguous().view(-1).view_dtype(Kind::Int).to_kind(Kind::Int64);
        let place = Tensor::arange(bits.numel() as i64, (Kind::Int64, bits.device())) * 2 + 1;
        (bits * place).sum(Kind::Int64)
    };
    let prints: Vec<Tensor> =
        tensors.iter().filter(|xs| xs.kind() == Kind::Float).map(print).collect();
    match prints.is_empty() {
        true => Vec::new(),
        false => {
            Vec::try_from(Tensor::stack(&prints, 0).to_device(Device::Cpu)).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_changes_the_fingerprint() {
        let xs = || Tensor::from_slice(&[1.0f32, -0.0, 3.5, 3.5]);
        let ys = Tensor::from_slice(&[1.0f32, 0.0, 3.5, 3.5]);
        let swapped = Tensor::from_slice(&[-0.0f32, 1.0, 3.5, 3.5]);
        assert_eq!(fingerprint(&[xs()]), fingerprint(&[xs()]));
        assert_ne!(fingerprint(&[xs()]), fingerprint(&[ys]));
        assert_ne!(fingerprint(&[xs()]), fingerprint(&[swapped]));
    }

    #[test]
    fn alone_every_exchange_is_nothing() {
        let world = World::solo();
        let mut xs = Tensor::from_slice(&[2.0f32]);
        world.sum(&xs).expect("sum");
        world.mean(&mut xs).expect("mean");
        assert_eq!(xs.double_value(&[0]), 2.0);
        assert_eq!(world.any([true, false]), Ok([true, false]));
        assert_eq!(world.largest(-3), Ok(-3));
        assert_eq!(world.gather("me"), Ok(vec!["me".to_string()]));
        assert_eq!((world.rank(), world.size(), world.is_first()), (0, 1, true));
    }

    #[test]
    fn a_backend_must_fit_the_device() {
        assert_eq!(speaks_nccl(Backend::Auto, Device::Cpu), Ok(false));
        assert_eq!(speaks_nccl(Backend::Auto, Device::Cuda(3)), Ok(true));
        assert_eq!(speaks_nccl(Backend::Gloo, Device::Cuda(3)), Ok(false));
        let error = speaks_nccl(Backend::Nccl, Device::Cpu).expect_err("refused").to_string();
        assert!(error.contains("Nccl cannot") && error.contains("dist.backend"), "{error}");
    }
}
