//! Launcher settings of a process: its rank, the number of ranks, and the address of the store.

use super::nodes::first_host;
use crate::error::{Error, Result};

/// One process of a distributed run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    pub rank: usize,
    pub size: usize,
    /// Number of this process on its machine, which selects its GPU.
    pub local_rank: Option<usize>,
    /// Host of the store, kept by rank 0 or torchrun's agent.
    pub host: String,
    pub port: u16,
    /// Torchrun's agent keeps the store, which survives a restart.
    pub agent: bool,
    /// Key prefix that separates this start from others in the same store.
    pub prefix: String,
}

const BY_HAND: &str =
    "torchrun and srun set them; by hand: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT";

impl Launch {
    /// Reads torchrun's variables (possibly set by hand), else those of a Slurm job step. None if neither is set, and for
    /// a single process: it has nobody to meet.
    ///
    /// `get` looks up an environment variable.
    ///
    /// Errors: some variables are missing or invalid.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        if is_alone(&get) {
            return Ok(None);
        }
        let launch = if get("RANK").is_some() || get("WORLD_SIZE").is_some() {
            Self::torchrun(&get)?
        } else if get("SLURM_STEP_ID").is_some() && get("SLURM_PROCID").is_some() {
            Self::slurm(&get)?
        } else {
            return Ok(None);
        };
        if launch.size == 0 || launch.rank >= launch.size {
            let what = format!("rank {} of {} processes", launch.rank, launch.size);
            return Err(Error::dist(what, "environment", "ranks count from 0"));
        }
        Ok(Some(launch))
    }

    fn torchrun(get: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        let needed = ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"];
        for name in ["RANK", "WORLD_SIZE"].into_iter().filter(|name| get(name).is_some()) {
            number(get, name)?;
        }
        let missing: Vec<_> = needed.into_iter().filter(|name| get(name).is_none()).collect();
        if !missing.is_empty() {
            let what = format!("not set: {}", missing.join(", "));
            return Err(Error::dist(what, "environment", BY_HAND));
        }
        let run = get("TORCHELASTIC_RUN_ID").unwrap_or_default();
        let attempt = get("TORCHELASTIC_RESTART_COUNT").unwrap_or_else(|| "0".into());
        Ok(Self {
            rank: number(get, "RANK")?,
            size: number(get, "WORLD_SIZE")?,
            local_rank: get("LOCAL_RANK").map(|_| number(get, "LOCAL_RANK")).transpose()?,
            host: get("MASTER_ADDR").unwrap_or_default(),
            port: port(get)?,
            agent: get("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
            prefix: format!("paella/{run}/{attempt}"),
        })
    }

    fn slurm(get: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        let size = if get("SLURM_STEP_NUM_TASKS").is_some() {
            "SLURM_STEP_NUM_TASKS"
        } else {
            "SLURM_NTASKS"
        };
        let nodes = get("SLURM_STEP_NODELIST").or_else(|| get("SLURM_JOB_NODELIST"));
        let host = get("MASTER_ADDR").or_else(|| first_host(&nodes?));
        let no_host = || {
            let hint = "set MASTER_ADDR to the first node of the job";
            Error::dist("no host to meet at", "SLURM_STEP_NODELIST", hint)
        };
        let (job, step) = (number(get, "SLURM_JOB_ID")?, number(get, "SLURM_STEP_ID")?);
        let restart = get("SLURM_RESTART_COUNT").unwrap_or_else(|| "0".into());
        Ok(Self {
            rank: number(get, "SLURM_PROCID")?,
            size: number(get, size)?,
            local_rank: get("SLURM_LOCALID").map(|_| number(get, "SLURM_LOCALID")).transpose()?,
            host: host.ok_or_else(no_host)?,
            port: match get("MASTER_PORT") {
                Some(_) => port(get)?,
                // the same for all ranks of a step, and different for most other steps
                None => 20_000 + (job.wrapping_mul(31).wrapping_add(step) % 20_000) as u16,
            },
            agent: false,
            prefix: format!("paella/{job}/{step}/{restart}"),
        })
    }
}

/// Whether the launcher has started a single process, rank 0 of 1.
fn is_alone(get: &impl Fn(&str) -> Option<String>) -> bool {
    let is = |name: &str, value: &str| get(name).is_some_and(|text| text.trim() == value);
    if get("RANK").is_some() || get("WORLD_SIZE").is_some() {
        return is("WORLD_SIZE", "1") && (get("RANK").is_none() || is("RANK", "0"));
    }
    let size =
        ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"].into_iter().find(|name| get(name).is_some());
    get("SLURM_STEP_ID").is_some()
        && is("SLURM_PROCID", "0")
        && size.is_some_and(|name| is(name, "1"))
}

fn number(get: &impl Fn(&str) -> Option<String>, name: &str) -> Result<usize> {
    let text = get(name).unwrap_or_default();
    let refuse = |_| Error::dist(format!("expected a number, got `{text}`"), name, BY_HAND);
    text.trim().parse().map_err(refuse)
}

fn port(get: &impl Fn(&str) -> Option<String>) -> Result<u16> {
    let port = number(get, "MASTER_PORT")?;
    let refuse = |_| {
        Error::dist(format!("there is no port {port}"), "MASTER_PORT", "a free port, 1024 to 65535")
    };
    u16::try_from(port).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(text: &str) -> Result<Option<Launch>> {
        let pairs: Vec<_> =
            text.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        let get = |name: &str| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        Launch::from_env(get)
    }

    #[test]
    fn nothing_set_means_alone() {
        assert_eq!(launch("HOME=/root"), Ok(None));
        // the batch script of a Slurm job is not one of its tasks
        assert_eq!(launch("SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_NTASKS=128"), Ok(None));
    }

    #[test]
    fn one_process_of_a_launcher_is_alone() {
        for text in [
            "RANK=0 WORLD_SIZE=1",
            "WORLD_SIZE=1",
            "RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=far.away MASTER_PORT=1",
            "SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_JOB_ID=1",
            "SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=1 SLURM_JOB_ID=1",
        ] {
            assert_eq!(launch(text), Ok(None), "{text}");
        }
        let error = launch("RANK=1 WORLD_SIZE=1 MASTER_ADDR=a MASTER_PORT=1").expect_err("refused");
        assert!(error.to_string().contains("rank 1 of 1"), "{error}");
    }

    #[test]
    fn torchrun_and_by_hand() {
        let text = "RANK=3 WORLD_SIZE=8 LOCAL_RANK=1 MASTER_ADDR=n1 MASTER_PORT=29500";
        let by_hand = launch(text).expect("fine").expect("there");
        assert_eq!((by_hand.rank, by_hand.size, by_hand.local_rank), (3, 8, Some(1)));
        assert_eq!((by_hand.host.as_str(), by_hand.port, by_hand.agent), ("n1", 29500, false));
        let text = format!(
            "{text} TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RUN_ID=r TORCHELASTIC_RESTART_COUNT=2"
        );
        let torchrun = launch(&text).expect("fine").expect("there");
        assert_eq!((torchrun.agent, torchrun.prefix.as_str()), (true, "paella/r/2"));
    }

    #[test]
    fn a_slurm_step_finds_its_first_node() {
        let text = "SLURM_JOB_ID=41 SLURM_STEP_ID=0 SLURM_PROCID=9 SLURM_NTASKS=128 SLURM_STEP_NUM_TASKS=16 \
            SLURM_LOCALID=1 SLURM_STEP_NODELIST=gpu[04-05]";
        let slurm = launch(text).expect("fine").expect("there");
        assert_eq!((slurm.rank, slurm.size, slurm.local_rank), (9, 16, Some(1)));
        assert_eq!((slurm.host.as_str(), slurm.port), ("gpu04", 21271));
        let own = launch(&format!("{text} MASTER_ADDR=other MASTER_PORT=1234")).expect("fine");
        assert_eq!(own.map(|own| (own.host, own.port)), Some(("other".into(), 1234)));
    }

    #[test]
    fn half_an_environment_is_refused_by_name() {
        for (text, part) in [
            ("RANK=1", "not set: WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
            ("RANK=x WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1", "got `x`\n  in: RANK"),
            ("RANK=2 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1", "rank 2 of 2"),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=70000", "no port 70000"),
            ("SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_ID=1", "no host to meet at"),
        ] {
            let error = launch(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
