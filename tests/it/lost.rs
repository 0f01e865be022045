//! Which rank is named when one of several processes fails or hangs. No rank is named without reason.

use crate::dist::{config, shared_tokenizer};
use crate::ranks::Ranks;
use crate::stream::{gone, training::emoji};
use crate::survive::lines;
use paella::data::stream::StreamConfig;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[test]
fn a_killed_rank_ends_the_job_with_one_message_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |config| config.train.steps = 100_000);
    let out = folder.path().join("out");
    for killed in [2, 0] {
        let mut ranks = Ranks::train(4, &config, &out, &["--resume", "auto"]);
        ranks.wait_for(|| lines(&out) > 3);
        ranks.kill(killed);
        let start = Instant::now();
        let said = ranks.fail(killed);
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
        assert_eq!(said.len(), 1, "{said:?}");
        let expected = format!("rank {killed} is gone");
        assert!(said[0].contains(&expected) && said[0].contains("--resume auto"), "{said:?}");
        let _ = std::fs::remove_file(out.join("log.jsonl"));
    }
}

/// Trains on `count` ranks and suspends one of them. Returns the single error line of the others.
fn stop_while_training(count: usize, stopped: usize, timeout_s: u64) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |config| {
        (config.train.steps, config.dist.timeout_s) = (100_000, timeout_s);
        config.train.save.every = 1_000_000; // a slow disk would look like a slow rank
    });
    let out = folder.path().join("out");
    let mut ranks = Ranks::train(count, &config, &out, &[]);
    ranks.wait_for(|| lines(&out) > 3);
    ranks.signal(stopped, "STOP");
    let said = ranks.fail(stopped);
    assert_eq!(said.len(), 1, "{said:?}");
    said[0].clone()
}

#[test]
fn a_hung_rank_ends_the_job_within_the_timeout() {
    let said = stop_while_training(4, 1, 12);
    assert!(said.contains("rank 1 did not answer for 12 s"), "{said}");
    assert!(said.contains("last seen at step"), "{said}");
}

#[test]
fn a_hung_rank_that_keeps_the_store_is_named_too() {
    let said = stop_while_training(2, 0, 8);
    assert!(said.contains("rank 0 does not answer, nor does the store"), "{said}");
}

/// Two ranks on shards that rank 1 reads through a command. The shell command `before` runs first.
fn from_a_command(folder: &Path, steps: u64, timeout_s: u64, before: &str) -> PathBuf {
    let shards = format!("pipe:{before}; cat {}", emoji(folder));
    config(folder, |config| {
        shared_tokenizer(config);
        config.data.stream = Some(StreamConfig {
            shards: vec![shards.clone()],
            shuffle: 0,
            lanes: 2,
            threads: 1,
            max_idle_s: 1000.0,
            ..StreamConfig::default()
        });
        (config.train.steps, config.dist.timeout_s) = (steps, timeout_s);
    })
}

#[test]
fn a_rank_that_is_stuck_with_its_data_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let stall = folder.path().join("stall");
    let before = format!("test $RANK = 1 -a -e {} && sleep 1017", stall.display());
    let config = from_a_command(folder.path(), 100_000, 8, &before);
    let out = folder.path().join("out");
    let mut ranks = Ranks::train(2, &config, &out, &[]);
    ranks.wait_for(|| lines(&out) > 3);
    std::fs::write(&stall, "").unwrap();
    // no process is suspended or killed: both ranks end by themselves, and the one to blame prints nothing
    let said = ranks.fail(2);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("rank 1 did not answer for 8 s"), "{said:?}");
    assert!(said[0].contains("last seen at step") && said[0].contains("waiting for data"));
    assert!(gone("sleep 1017"), "its command lives on");
}

#[test]
fn slow_ranks_are_not_taken_for_hung_ones() {
    let folder = tempfile::tempdir().unwrap();
    // both wait for their first data longer than the time limit; then one is slow repeatedly
    let first = folder.path().join("first");
    let before = format!(
        "mark={}-$RANK; if ! test -e $mark; then touch $mark; sleep 8; elif test $RANK = 1; then sleep 1; fi",
        first.display()
    );
    let config = from_a_command(folder.path(), 12, 6, &before);
    let start = Instant::now();
    Ranks::train(2, &config, &folder.path().join("out"), &[]).succeed();
    assert!(start.elapsed() > Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_rank_that_never_comes_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |config| config.dist.timeout_s = 3);
    let out = folder.path().join("out");
    let ranks = Ranks::train_some(&[0, 1, 3], 4, &config, &out, &[]);
    let said = ranks.fail(4);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said.iter().all(|text| text.contains("rank 2 of 4 did not come within 3 s")),
        "{said:?}"
    );
    let ranks = Ranks::train_some(&[1], 2, &config, &out, &[]);
    let said = ranks.fail(2);
    assert!(said[0].contains("rank 0 was not reached within 3 s"), "{said:?}");
}

#[test]
fn what_goes_wrong_on_all_ranks_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |config| config.train.micro_batch = Some(4));
    let said = Ranks::train(4, &config, &folder.path().join("out"), &[]).fail(4);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("`global_batch` 8 is not a multiple of `micro_batch` 4 x 4 ranks"));
    assert!(said[0].contains("`global_batch` 16; or `micro_batch` 2; or 2 ranks"), "{said:?}");
}

#[test]
fn a_rank_that_is_asked_to_stop_does_not_wait_for_one_that_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |config| {
        (config.train.steps, config.dist.timeout_s) = (100_000, 600);
        config.train.save.every = 1_000_000;
    });
    // the rank that keeps the store is suspended, and the other one
    for (suspended, asked, signal, code) in [(1, 0, "TERM", 143), (0, 1, "INT", 130)] {
        let out = folder.path().join(signal);
        let mut ranks = Ranks::train(2, &config, &out, &[]);
        ranks.wait_for(|| lines(&out) > 3);
        ranks.signal(suspended, "STOP");
        std::thread::sleep(Duration::from_secs(1)); // now the other one is in an exchange
        let start = Instant::now();
        ranks.signal(asked, signal);
        let (ended, said) = ranks.code(asked);
        assert!(start.elapsed() < Duration::from_secs(6), "{:?}: {said}", start.elapsed());
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains("does not answer") && said.contains("`--resume auto`"), "{said}");
        ranks.kill(suspended);
    }
}

#[test]
fn a_rank_that_waits_for_its_peers_says_so_and_can_be_ended() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |config| config.dist.timeout_s = 600);
    for (signal, number) in [("TERM", 15), ("INT", 2)] {
        // rank 0 keeps the meeting place and waits for rank 1; rank 1 looks for the meeting place
        for rank in [0, 1] {
            let mut ranks = Ranks::train_some(&[rank], 2, &config, &folder.path().join("out"), &[]);
            let said = ranks.first_line(rank);
            assert!(
                said.contains(&format!("rank {rank} of 2 waits for the others at 127.0.0.1:")),
                "{said}"
            );
            let start = Instant::now();
            ranks.signal(rank, signal);
            assert_eq!(ranks.ended_by(rank), Some(number), "{signal} to rank {rank}");
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        }
    }
}
