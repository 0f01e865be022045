//! `scripts/summary.awk`: the summary of a test run.

use std::path::Path;
use std::process::Command;

/// The summary of a log. `code` is the exit code of the run.
fn summary(log: &str, code: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.log");
    std::fs::write(&file, log).unwrap();
    let mut awk = Command::new("awk");
    awk.args(["-v", &format!("code={code}"), "-v", "seconds=7", "-f"]);
    awk.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/summary.awk")).arg(&file);
    let output = awk.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const CARGO: &str = "\
test lab::a ... ok
test \u{1b}[1mlab::b\u{1b}[0m ... \u{1b}[31mFAILED\u{1b}[0m
test result: \u{1b}[31mFAILED\u{1b}[0m. 10 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 9.01s
test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
part: core, 12 s
";

#[test]
fn cargo_and_pytest_add_up() {
    let pytest = "\
..F.s
FAILED tests/kernel/test_life.py::test_many[tcp] - AssertionError: 5 passed in 3.0s, they say
ERROR tests/kernel/test_many.py::test_two - RuntimeError: x
SKIPPED [1] tests/kernel/test_browser.py:20: chromium is missing
1 failed, 40 passed, 1 skipped, 3 warnings, 1 error in 75.20s (0:01:15)
part: kernel, 80 s
";
    let said = summary(&format!("{CARGO}{pytest}"), "1");
    assert_eq!(
        said.lines().last(),
        Some("FAILED: 55 passed, 3 failed, 3 skipped in 7 s"),
        "{said}"
    );
    for part in [
        "failed: lab::b",
        "failed: tests/kernel/test_life.py::test_many[tcp]",
        "failed: tests/kernel/test_many.py::test_two",
        "skipped: tests/kernel/test_browser.py:20: chromium is missing",
        "kernel, 80 s",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn what_passes_and_what_never_ran_is_told() {
    let said =
        summary("test result: ok. 3 passed; 0 failed; 0 ignored; x\n41 passed in 9.5s\n", "0");
    assert_eq!(said, "\nok: 44 passed, 0 failed, 0 skipped in 7 s\n");
    let said =
        summary("== 2 passed, 1 skipped in 0.10s ==\nnot run: the kernel's tests, since x\n", "0");
    assert_eq!(
        said,
        "\n  not run: the kernel's tests, since x\nok: 2 passed, 0 failed, 1 skipped in 7 s\n"
    );
    let said = summary("error: could not compile `paella`\n", "1");
    assert!(
        said.contains("did not come to the end") && said.contains("FAILED: 0 passed"),
        "{said}"
    );
}
