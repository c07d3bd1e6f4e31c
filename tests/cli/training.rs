//! `escnet train`: killed, interrupted, out of space, told to leak; and from pictures to a judged model in five commands.

use crate::program::{Folder, Run, program, run};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SETTINGS: &[u8] = include_bytes!("../train/tiny.toml");

/// A drawn data set and the settings of a tiny run.
fn set() -> Folder {
    let folder = Folder::new();
    folder.write("run.toml", SETTINGS);
    run(&["data", "demo", &folder.join("set"), "--count", "160", "--seed", "3", "--size", "32", "--quiet"]).ok();
    folder
}

/// The arguments that train a stage in `folder/name`.
fn arguments(folder: &Folder, stage: &str, name: &str, more: &[&str]) -> Vec<String> {
    let (config, data, out) = (folder.join("run.toml"), folder.join("set"), folder.join(name));
    let all = ["train", stage, "--config", &config, "--data", &data, "--out", &out];
    all.iter().chain(more).map(|s| (*s).to_owned()).collect()
}

fn spawn(arguments: &[String]) -> Child {
    program().args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The weights that a run left.
fn weights(folder: &Folder, run: &str) -> Vec<u8> {
    std::fs::read(folder.join(&format!("{run}/model/model.safetensors"))).unwrap()
}

/// Waits until the run has saved its state at least once.
fn wait_for_checkpoint(run: &Path) {
    let begun = Instant::now();
    while std::fs::read_dir(run.join("checkpoint")).map_or(0, |d| d.flatten().filter(|e| !e.file_name().to_string_lossy().starts_with('.')).count())
        == 0
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const ONE: [&str; 6] = ["--set", "captioner.fitting=\"in-sample\"", "--set", "captioner.stage.checkpoint_steps=2", "--epochs", "6"];

#[test]
fn a_run_killed_twenty_times_ends_with_the_same_bytes() {
    let folder = set();
    run(&arguments(&folder, "captioner", "whole", &ONE)).ends(0);
    let resumed = arguments(&folder, "captioner", "killed", &[&ONE[..], &["--resume"]].concat());
    let mut state = 12345_u64;
    let mut killed = 0;
    for attempt in 0.. {
        assert!(attempt < 200, "it was over too soon too often");
        let mut child = spawn(&resumed);
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        std::thread::sleep(Duration::from_millis(15 + (state >> 33) % 100));
        // SIGKILL: nothing is cleaned up.
        let over = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        match over {
            None => killed += 1,
            Some(status) => {
                assert!(status.success());
                // Done before the twentieth: from the start once more.
                assert!(weights(&folder, "killed") == weights(&folder, "whole"));
                std::fs::remove_dir_all(folder.join("killed")).unwrap();
            }
        }
        if killed == 20 {
            break;
        }
    }
    run(&resumed).ends(0);
    assert!(weights(&folder, "killed") == weights(&folder, "whole"));
    let left: Vec<String> =
        std::fs::read_dir(folder.join("killed/checkpoint")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_the_run_goes_on() {
    let folder = set();
    run(&arguments(&folder, "captioner", "whole", &ONE)).ends(0);
    let child = spawn(&arguments(&folder, "captioner", "x", &ONE));
    wait_for_checkpoint(Path::new(&folder.join("x")));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("--resume"), "{said}");
    run(&arguments(&folder, "captioner", "x", &[&ONE[..], &["--resume"]].concat())).ends(0);
    assert!(weights(&folder, "x") == weights(&folder, "whole"));
}

/// Files are held to so many KiB: what a full disk does, without one.
#[cfg(target_os = "linux")]
fn in_little_space(arguments: &[String], kib: u32) -> Run {
    let quoted: Vec<String> = arguments.iter().map(|a| format!("'{a}'")).collect();
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec '{}' {}", env!("CARGO_BIN_EXE_escnet"), quoted.join(" "));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    Run { code: output.status.code(), out: String::from_utf8(output.stdout).unwrap(), err: String::from_utf8(output.stderr).unwrap() }
}

#[cfg(target_os = "linux")]
#[test]
fn without_space_the_last_checkpoint_stays_whole() {
    let folder = set();
    run(&arguments(&folder, "captioner", "whole", &ONE)).ends(0);
    let child = spawn(&arguments(&folder, "captioner", "x", &ONE));
    wait_for_checkpoint(Path::new(&folder.join("x")));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    child.wait_with_output().unwrap();
    let resumed = arguments(&folder, "captioner", "x", &[&ONE[..], &["--resume"]].concat());
    let state = |folder: &Folder| -> Vec<(String, u64)> {
        let dir = std::fs::read_dir(folder.join("x/checkpoint")).unwrap().map(|e| e.unwrap());
        dir.map(|e| (e.file_name().into_string().unwrap(), std::fs::metadata(e.path().join("state.safetensors")).unwrap().len())).collect()
    };
    let before = state(&folder);
    let stopped = in_little_space(&resumed, 16).ends(3);
    assert!(stopped.err.contains("state.safetensors"), "{}", stopped.err);
    assert_eq!(state(&folder), before);
    run(&resumed).ends(0);
    assert!(weights(&folder, "x") == weights(&folder, "whole"));
}

#[test]
fn from_pictures_to_a_judged_model_and_no_leaks() {
    let folder = set();
    let path = |name: &str| folder.join(name);
    let (run_dir, captions) = (path("captioner"), path("captions.jsonl"));
    let settings = ["--set".to_owned(), format!("captioner.out={run_dir:?}"), "--set".to_owned(), format!("classifier.captions.file={captions:?}")];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let caption = |more: &[&str]| run(&[&["caption", "--dataset", &path("set"), "-o", &captions, "--batch", "16"], more].concat());
    let classify = |name: &str| run(&arguments(&folder, "classifier", name, &settings));

    run(&arguments(&folder, "captioner", "captioner", &[])).ends(0);
    caption(&["--run", &run_dir]).ends(0);
    classify("classifier").ends(0);
    let model = path("classifier/model");
    let report = run(&["eval", &path("set"), "--model", &model, "--split", "test", "--format", "json", "--batch", "16"]).ends(0);
    let report: serde_json::Value = serde_json::from_str(&report.out).unwrap();
    assert!((0.0..=1.0).contains(&report["accuracy"].as_f64().unwrap()), "{report}");
    let first = serde_json::from_str::<Vec<[String; 4]>>(&std::fs::read_to_string(path("set/test.json")).unwrap()).unwrap()[0].clone();
    run(&["classify", &folder.join(&format!("set/{}", first[2])), "--model", &model]).ends(0);

    // Of a captioner that saw the pictures.
    std::fs::remove_file(&captions).unwrap();
    caption(&["--model", &path("captioner/model")]).ends(0);
    let refused = classify("leaky").ends(3);
    assert!(refused.err.contains("did not learn from the picture"), "{}", refused.err);
    assert!(!Path::new(&path("leaky")).exists());
    // By hand, or from labels.
    run(&["data", "captions", &path("set"), "-o", &captions, "--split", "test"]).ends(0);
    let refused = classify("leaky").ends(3);
    assert!(refused.err.contains("captions by another"), "{}", refused.err);
    // Captions of pictures to be judged by, as something to learn from.
    let with_file = ["--set".to_owned(), format!("captioner.captions={captions:?}")];
    let refused = run(&arguments(&folder, "captioner", "leaky", &[&with_file[0], &with_file[1]])).ends(3);
    assert!(refused.err.contains("pictures to be judged by"), "{}", refused.err);
}

#[test]
fn disjoint_stages_share_no_picture() {
    let folder = set();
    let path = |name: &str| folder.join(name);
    let (run_dir, captions) = (path("captioner"), path("captions.jsonl"));
    let settings = [
        format!("captioner.out={run_dir:?}"),
        format!("classifier.captions.file={captions:?}"),
        "captioner.fitting=\"disjoint\"".to_owned(),
        "classifier.stage.epochs=1.0".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().flat_map(|s| ["--set", s.as_str()]).collect();
    run(&arguments(&folder, "captioner", "captioner", &settings)).ends(0);
    run(&["caption", "--dataset", &path("set"), "-o", &captions, "--batch", "16", "--run", &run_dir]).ends(0);
    run(&arguments(&folder, "classifier", "classifier", &settings)).ends(0);
    let learnt = |stage: &str| -> Vec<String> {
        let text = std::fs::read_to_string(path(&format!("{stage}/model/training.json"))).unwrap();
        serde_json::from_value(serde_json::from_str::<serde_json::Value>(&text).unwrap()["trained_on"].clone()).unwrap()
    };
    let (first, second) = (learnt("captioner"), learnt("classifier"));
    assert_eq!((first.len(), second.len()), (64, 64));
    assert!(first.iter().all(|id| !second.contains(id)));
}

#[test]
fn wrong_settings_are_named() {
    let folder = set();
    for (change, wanted) in [
        ("captioner.stage.rte=1.0", "captioner.stage.rte"),
        ("captioner.stage.batch=0", "captioner.stage.batch"),
        ("captioner.stage.dtype=\"f8\"", "f32, f16 or bf16"),
        ("captioner.stage.schedule.kind=\"square\"", "captioner.stage.schedule.kind"),
        ("captioner.stage.batch=1000", "batch"),
        ("model.from=\"nowhere\"", "beside `from` only"),
        ("data.path=\"nowhere\"", "nowhere"),
    ] {
        let stopped = run(&arguments(&folder, "captioner", "x", &["--set", change]));
        assert!(stopped.code == Some(3) || stopped.code == Some(2), "{change}: {stopped:?}");
        assert!(stopped.err.contains(wanted), "{change}: {}", stopped.err);
    }
}

/// A GPU's inputs are written while it computes. The stand-in copies them as late as can be, as early as may be, or by dice; without page-locked memory before
/// anything else is done.
#[cfg(feature = "cuda")]
#[test]
fn whenever_inputs_are_copied_a_run_ends_with_the_same_bytes() {
    if let Err(e) = escnet::Device::cuda_simulated() {
        assert!(std::env::var_os("ESCNET_REQUIRE_DEVICES").is_none(), "{e}");
        return println!("left out: {e}");
    }
    let folder = set();
    let short = ["--device", "cuda:sim", "--set", "captioner.fitting=\"in-sample\"", "--epochs", "0.2"];
    let left = |name: &str, setting: (&str, &str)| {
        let output = program().args(arguments(&folder, "captioner", name, &short)).env(setting.0, setting.1).output().unwrap();
        assert!(output.status.success(), "{setting:?}: {output:?}");
        weights(&folder, name)
    };
    let without = left("without", ("CUDA_ON_CPU_LOCKED", "0"));
    for seed in ["0", "1", "2"] {
        assert!(left(seed, ("CUDA_ON_CPU_SEED", seed)) == without, "seed {seed}");
    }
}
