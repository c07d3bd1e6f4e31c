//! `verify`, `convert`, `inspect`.

use crate::program::{Folder, golden, model, picture, run, text, with_model};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn golden_operators_hold() {
    let report = json(&run(&["verify", &text(&golden("ops/gelu.safetensors")), &text(&golden("ops/softmax.safetensors")), "--format", "json"]).ok());
    assert_eq!((report["passed"].as_bool(), report["out"].as_u64()), (Some(true), Some(0)));
    let tensors = report["tensors"].as_array().unwrap();
    assert_eq!(tensors.len() as u64, report["all"].as_u64().unwrap());
    assert!(tensors.iter().any(|t| t["name"].as_str().unwrap().starts_with("softmax/")));
    let table = run(&["verify", &text(&golden("ops/gelu.safetensors"))]).ok();
    assert!(table.starts_with("gelu: "), "{table}");
}

#[test]
fn a_number_that_is_off_is_found() {
    let folder = Folder::new();
    let mut bytes = std::fs::read(golden("ops/gelu.safetensors")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1000f32.to_le_bytes());
    folder.write("sub/gelu.safetensors", &bytes);
    let failed = run(&["verify", &folder.join("")]).ends(1);
    assert!(failed.err.contains("out of their limits") && failed.out.contains("out\n"), "{failed:?}");
    assert_eq!(json(&run(&["verify", &folder.join("sub"), "--ops", "--format", "json"]).ends(1).out)["passed"], false);
}

#[test]
fn what_is_no_golden_folder_is_bad_input() {
    let folder = Folder::new();
    assert!(run(&["verify", &folder.join("")]).ends(3).err.contains("nothing to verify"));
    run(&["verify", &folder.join("nowhere")]).ends(3);
    folder.write("gelu.safetensors", b"garbage");
    run(&["verify", &folder.join("")]).ends(3);
    std::fs::copy(golden("ops/gelu.safetensors"), folder.join("gelly.safetensors")).unwrap();
    run(&["verify", &folder.join("gelly.safetensors")]).ends(3);
    run(&["verify", &folder.join(""), "--device", "abacus"]).ends(4);
}

#[test]
fn inspect_counts_what_is_there() {
    let report = |more: &[&str]| json(&run(&[&["inspect", &model(), "--format", "json"], more].concat()).ok());
    let all = report(&[]);
    let counted: u64 = all["weights"].as_array().unwrap().iter().map(|w| w["bytes"].as_u64().unwrap()).sum();
    let file = std::fs::read(golden("trained/model.safetensors")).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap());
    assert_eq!(counted, file.len() as u64 - 8 - header, "the model's file is f32 and has nothing else in it");

    let graphs = all["graphs"].as_array().unwrap();
    assert_eq!(graphs.iter().map(|g| g["stage"].as_str().unwrap()).collect::<Vec<_>>(), ["classify", "caption-encode", "caption-step"]);
    assert!(graphs.iter().all(|g| g.get("nodes").is_none()));
    let classify = &graphs[0];
    assert!(classify["nodes_after"].as_u64() < classify["nodes_before"].as_u64());
    assert!(classify["peak_bytes"].as_u64() < classify["total_bytes"].as_u64());

    let one = report(&["--only", "classify", "--ops"])["graphs"][0].clone();
    let two = report(&["--only", "classify", "--batch", "2"])["graphs"][0].clone();
    assert_eq!(2 * one["flops"].as_u64().unwrap(), two["flops"].as_u64().unwrap());
    let sum = |list: &Value| list.as_array().unwrap().iter().map(|x| x["flops"].as_u64().unwrap()).sum::<u64>();
    for list in ["parts", "ops", "nodes"] {
        assert_eq!(sum(&one[list]), one["flops"].as_u64().unwrap(), "{list}");
    }
    let table = run(&["inspect", &model(), "--ops"]).ok();
    assert!(table.contains("backbone.layer1.0") && table.contains("together"), "{table}");
    assert!(run(&["inspect", "nowhere"]).ends(3).err.contains("config.json"));
}

#[test]
fn inspect_draws_graphs() {
    let folder = Folder::new();
    let drawn = |name: &str, more: &[&str]| {
        let file = folder.join(name);
        run(&[&["inspect", &model(), "--graph", &file], more].concat()).ok();
        std::fs::read_to_string(file).unwrap()
    };
    let svg = drawn("graph.svg", &["--only", "classify"]);
    assert!(svg.starts_with("<svg ") && svg.contains("classify, fused") && svg.contains("conv2d") && !svg.contains("caption"), "{svg}");
    let dot = drawn("graph.dot", &[]);
    assert_eq!(dot.matches("digraph ").count(), 6);
    assert!(!dot.contains(" us\""), "nothing ran");
    assert!(drawn("measured.dot", &["--only", "caption-step", "--device", "cpu"]).contains(" us\""));
    assert!(drawn("graph.html", &["--device", "cpu"]).contains("Softmax over the last dimension"));
    assert!(run(&["inspect", &model(), "--graph", &folder.join("graph.png")]).ends(2).err.contains(".svg, .dot or .html"));
    run(&["inspect", &model(), "--device", "cpu"]).ends(2);
    run(&["inspect", &model(), "--graph", &folder.join("graph.dot"), "--device", "abacus"]).ends(4);
    run(&["inspect", &model(), "--graph", &folder.join("none/graph.dot")]).ends(3);
}

#[test]
fn a_model_taken_apart_and_put_together_says_the_same() {
    let (folder, whole) = (Folder::new(), model());
    let (config, vocabulary) = (format!("{whole}/config.json"), format!("{whole}/vocab.txt"));
    let out = folder.join("made");
    let parts =
        ["--backbone", &whole, "--captioner", &whole, "--text-encoder", &whole, "--fusion", &whole, "--config", &config, "--vocab", &vocabulary];
    let convert = |more: &[&str]| run(&[&["convert"], &parts[..], more, &[&out]].concat());
    convert(&[]).ends(0);
    let classify = |model: &str| run(&["classify", &picture("gray.png"), "--model", model]).ok();
    assert_eq!(classify(&out), classify(&whole));
    assert!(convert(&[]).ends(2).err.contains("--force"));
    convert(&["--force", "--dtype", "bf16"]).ends(0);
    assert_eq!(with_model(&["caption", &picture("gray.png")]).ends(0).jsonl().len(), 1);
    run(&["convert", "--backbone", "nowhere", "--captioner", &whole, "--text-encoder", &whole, &folder.join("other")]).ends(3);
    assert_eq!(folder.names(), ["made"]);
}
