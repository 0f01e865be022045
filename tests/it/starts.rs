//! Starts that fail leave nothing behind.

use crate::cli::{Workspace, smoke, text};
use crate::train::smoke as small;
use paella::config::to_ron;
use paella::data::Source;

/// Files and folders of a workspace, sorted.
fn entries(workspace: &Workspace) -> Vec<String> {
    let (mut found, mut todo) = (Vec::new(), vec![workspace.file("")]);
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            found.push(entry.path().display().to_string());
            if entry.path().is_dir() {
                todo.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_start_of_any_command_that_fails_leaves_no_folder() {
    let workspace = Workspace::new();
    let smoke = smoke();
    let write = |name: &str, content: &str| std::fs::write(workspace.file(name), content).unwrap();
    write("broken.ron", "(seed: x)");
    write(
        "gone.ron",
        "(data: (size: 256, stream: Some((shards: [\"gone.tar\"]))), weights: (tokenizer: Some(\"t.pt\")))",
    );
    write("no.tar", "no tar");
    write("fails.txt", "bogus\n");
    let mut config = small(1, 1);
    config.name = "shards".into();
    config.data.groups = vec![];
    config.data.source = Source::Shards { train: vec!["no.tar".into()], val: vec![] };
    write("shards.ron", &to_ron(&config));
    let model = |args: &[&str]| -> Vec<String> {
        args.iter().map(|arg| arg.to_string()).chain(["--model".into(), smoke.clone()]).collect()
    };
    let plain = |args: &[&str]| -> Vec<String> { args.iter().map(|arg| arg.to_string()).collect() };
    let calls = [
        plain(&["train", "broken.ron", "--out", "new/out"]),
        plain(&["train", "missing.ron", "--out", "new/out"]),
        plain(&["train", "shards.ron"]),
        plain(&["train", "shards.ron", "--out", "new/out", "--resume"]),
        plain(&["train", "shards.ron", "--out", "new/out", "--resume", "auto"]),
        plain(&["plan", "broken.ron"]),
        plain(&["bench", "broken.ron", "--profile", "new/traces"]),
        plain(&["bench", "shards.ron", "--train", "0", "--profile", "new/traces"]),
        plain(&["precompute", "broken.ron", "--out", "new/made"]),
        plain(&["precompute", "gone.ron", "--out", "new/made"]),
        plain(&["eval", "missing", "--over", "steps", "--chart", "new/c.png"]),
        plain(&["config", "check", "missing.ron"]),
        plain(&["lessons", "build", "--from", "missing", "--to", "new/books"]),
        plain(&["lessons", "build", "--from", ".", "--to", "new/books", "--check"]),
        plain(&["lesson", "missing"]),
        model(&["sample", "x", "--image", "missing.png", "--out", "new/x.png"]),
        model(&["sample", "x", "--steps", "1", "--out", "new/x.xyz"]),
        model(&[
            "sample", "x", "--steps", "1", "--area", "left", "--image", "no.tar", "--runs", "new",
        ]),
        model(&["show", "no such caption", "--runs", "new"]),
        model(&["--script", "fails.txt", "--runs", "new"]),
        model(&["--script", "missing.txt", "--runs", "new"]),
    ];
    let before = entries(&workspace);
    for call in calls {
        let args: Vec<&str> = call.iter().map(String::as_str).collect();
        let output = workspace.run(&args);
        assert!(!output.status.success(), "{args:?}: {}", text(&output.stdout));
        assert_eq!(entries(&workspace), before, "{args:?}: {}", text(&output.stderr));
    }
}
