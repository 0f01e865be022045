//! The prompt in a terminal of its own: what is pasted, completed, shown and asked.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};

use crate::cli::smoke;

/// What the terminal sends when it takes a paste as one piece.
const PASTE: [&str; 2] = ["\x1b[200~", "\x1b[201~"];
/// What the program writes when it is ready for a line.
const READY: &str = "\x1b[?2004h";

/// Runs the program in `folder` with a terminal as its input and output. Waits for the first text of each pair, then
/// types the second. Returns everything that was written.
fn in_terminal(folder: &Path, args: &[&str], typed: &[(&str, &str)]) -> String {
    let (mut outer, mut inner) = (0, 0);
    let size = libc::winsize { ws_row: 40, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: two places for descriptors and a size that live through the call; the other arguments may be null.
    let made = unsafe {
        libc::openpty(&mut outer, &mut inner, std::ptr::null_mut(), std::ptr::null(), &size)
    };
    assert_eq!(made, 0, "a terminal");
    // SAFETY: both descriptors were just opened, and nothing else owns them.
    let (mut outer, inner) = unsafe { (File::from_raw_fd(outer), OwnedFd::from_raw_fd(inner)) };
    let end = || inner.try_clone().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_paella"));
    command.args(args).current_dir(folder).stdin(end()).stdout(end()).stderr(end());
    command.env("TERM", "xterm").env("PAELLA_PICTURES", "files").env("OMP_NUM_THREADS", "1");
    command.env("XDG_DATA_HOME", folder).env("XDG_STATE_HOME", folder).env("HOME", folder);
    let mut child = command.spawn().unwrap();
    drop((inner, command));
    let said = Arc::new(Mutex::new(String::new()));
    let (heard, mut source) = (said.clone(), outer.try_clone().unwrap());
    let listener = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = source.read(&mut bytes) {
            heard.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    });
    let mut from = 0;
    for (awaited, keys) in typed {
        let begin = Instant::now();
        let found = loop {
            if let Some(at) = said.lock().unwrap()[from..].find(awaited) {
                break Some(at);
            }
            if begin.elapsed() > Duration::from_secs(60) {
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let Some(at) = found else {
            let _ = child.kill();
            panic!("{awaited:?} does not come:\n{}", said.lock().unwrap());
        };
        from += at + awaited.len();
        outer.write_all(keys.as_bytes()).unwrap();
    }
    let status = child.wait().unwrap();
    listener.join().unwrap();
    let said = said.lock().unwrap().clone();
    assert!(status.success(), "{said}");
    said
}

#[test]
fn lines_pasted_with_and_without_brackets_run_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let [begin, end] = PASTE;
    let bracketed = format!("{begin}set sample.steps 5\n\nset seed 9\nconfig sample.steps{end}\r");
    let said = in_terminal(
        folder.path(),
        &["--model", &smoke()],
        &[
            (READY, &bracketed),
            ("sample.steps: 5", ""),
            (READY, "set sample.steps 3\rset seed 8\rconfig seed\r"),
            ("seed: 8", "quit\r"),
        ],
    );
    for part in ["sample.steps: 12 -> 5", "seed: 1 -> 9", "sample.steps: 5 -> 3", "seed: 9 -> 8"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn lines_pasted_behind_a_quit_that_is_refused_still_run() {
    let folder = tempfile::tempdir().unwrap();
    let [begin, end] = PASTE;
    let pasted = format!("{begin}quit\nset sample.steps 5\nset seed 9{end}\r");
    let said = in_terminal(
        folder.path(),
        &["--model", &smoke()],
        &[
            (READY, "step 1\r"),
            ("learning rate", ""),
            (READY, &pasted),
            ("not saved: 1 training step;", ""),
            ("sample.steps: 12 -> 5", ""),
            ("seed: 1 -> 9", ""),
            (READY, &format!("{begin}quit\nquit\nset seed 7{end}\r")),
            ("not run: 1 further line", ""),
        ],
    );
    assert!(!said.contains("9 -> 7"), "{said}");
}

#[test]
fn another_session_draws_other_seeds_unless_one_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = |more: &[&str]| {
        let smoke = smoke();
        let args = [&["--model", smoke.as_str()], more].concat();
        let typed = [(READY, "sample apple steps=1\r"), (", 1 step, seed ", ""), (READY, "quit\r")];
        let said = in_terminal(folder.path(), &args, &typed);
        let (_, rest) = said.split_once(", 1 step, seed ").unwrap();
        rest.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    assert_ne!(drawn(&[]), drawn(&[]));
    assert_eq!(drawn(&["--seed", "3"]), drawn(&["--seed", "3"]));
}

#[test]
fn lines_pasted_into_a_lesson_run_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let [begin, end] = PASTE;
    let pasted = format!("{begin}set seed 5\nset seed 6{end}\r");
    let said =
        in_terminal(folder.path(), &["lesson", "2"], &[(READY, &pasted), ("5 -> 6", "quit\r")]);
    assert!(said.contains("seed: 1 -> 5"), "{said}");
}

#[test]
fn what_tab_completes_opens_and_what_is_replaced_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("my pics");
    for (name, caption) in [("a", "a red fox"), ("b", "a blue fox"), ("c", "a green fox")] {
        let picture = RgbImage::from_pixel(32, 32, Rgb([200, 100, 50]));
        paella::image::save(&picture, &pictures.join(format!("{name}.png"))).unwrap();
        std::fs::write(pictures.join(format!("{name}.txt")), format!("{caption}\x1b[31m\n"))
            .unwrap();
    }
    let said = in_terminal(
        folder.path(),
        &["--model", &smoke()],
        &[
            (READY, "data ~/my\t\r"),
            ("to train on", ""),
            (READY, "show \"my pics/b.p\t\r"),
            ("a blue fox [31m", ""),
            (READY, "export mine.ron\r"),
            ("runs it", ""),
            (READY, "export mine.ron\r"),
            ("Replace it? [y/N] ", "n\r"),
            ("not written: mine.ron is as it was", ""),
            (READY, "export mine.ron\r"),
            ("Replace it? [y/N] ", "y\r"),
            ("in place of an older one", "quit\r"),
        ],
    );
    assert!(said.contains("data \"~/my pics/\""), "{said}");
    assert!(said.contains("2 pictures of 32 x 32 to train on"), "one is for validation: {said}");
    assert!(!said.contains("fox\x1b[31m"), "{said}");
}
