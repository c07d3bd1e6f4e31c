//! `bench`, `bench compare`, `peaks`.

use crate::program::{Folder, Run, program, run};
use escnet::bench::parts::{Part, model};
use escnet::bench::shapes::subjects;
use escnet::infer::inspect::Stage;
use escnet::{DType, Device};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A bench of the small model's operators that asks for little.
fn bench(more: &[&str]) -> Run {
    run(&[&["bench", "--shapes", "escnet-tiny", "--device", "cpu", "--time", "0.02", "--no-peaks"], more].concat())
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.ok()).unwrap()
}

fn has(name: &str) -> bool {
    let devices = json(run(&["devices", "--format", "json"]));
    devices["devices"].as_array().unwrap().iter().any(|device| device["device"] == name)
}

#[test]
fn operators_are_checked_and_measured() {
    let report = json(bench(&["layernorm", "--part", "classify,train-classify", "-o", "json", "--threads", "1"]));
    let rows = report["rows"].as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().any(|row| row["pass"] == "backward_input"), "{report}");
    let device = Device::cpu(1).unwrap().describe();
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap();
        assert!(row["op"].as_str().unwrap().contains("layernorm"));
        assert!(number("p5") <= number("us") && number("us") <= number("p95") && number("us") > 0.0, "{row}");
        assert!(number("error") < 1e-5 && number("gbps") > 0.0 && row["roof"].is_null(), "{row}");
        assert_eq!((row["dtype"].as_str(), row["device"].as_str(), number("threads")), (Some("f32"), Some(device.as_str()), 1.0));
    }
    let table = bench(&["softmax"]).ok();
    assert!(table.starts_with("operator") && table.contains("softmax"), "{table}");
    let markdown = bench(&["softmax", "-o", "md"]).ok();
    assert!(markdown.starts_with("| operator | shape |") && markdown.contains("\n| softmax | "), "{markdown}");
}

#[test]
fn what_was_measured_is_told_meanwhile_and_of_all_together() {
    let told = bench(&["softmax", "--progress"]);
    let lines: Vec<&str> = told.err.lines().filter(|line| line.starts_with("1/") || line.starts_with("2/")).collect();
    assert!(lines.len() == 2 && lines[0].contains(" softmax ") && (lines[0].ends_with(" us") || lines[0].ends_with(" ms")), "{}", told.err);
    let plain = bench(&["softmax"]);
    assert!(!plain.err.lines().any(|line| line.starts_with("1/")), "{}", plain.err);
    let device = Device::cpu(0).unwrap().describe();
    assert!(
        plain.err.contains(&format!("{device}, f32, commit ")) && (plain.err.contains(" MHz\n") || plain.err.contains("clocks not known\n")),
        "{}",
        plain.err
    );
    let whole = bench(&["--whole", "--part", "fusion", "--progress"]);
    assert!(whole.err.contains("\n1/1 fusion.whole 1: "), "{}", whole.err);
    if cfg!(debug_assertions) {
        assert!(plain.err.contains("debug assertions"), "{}", plain.err);
        assert!(run(&["peaks", "--time", "0.01"]).err.contains("debug assertions"));
    }
}

#[test]
fn what_was_not_measured_long_enough_is_not_quiet() {
    let bench = |time: &str| {
        let asked = ["bench", "softmax", "--shapes", "escnet-tiny", "--part", "classify", "--device", "cpu", "--no-peaks", "--noise", "1000"];
        run(&[&asked[..], &["-o", "json", "--time", time]].concat())
    };
    let (short, long) = (bench("0.02"), bench("2"));
    assert!(short.err.contains("half a second") && !long.err.contains("half a second"), "{short:?} {long:?}");
    for (run, quiet) in [(short, false), (long, true)] {
        let rows = json(run);
        assert!(rows["rows"].as_array().unwrap().iter().all(|row| row["quiet"] == quiet), "{rows}");
    }
}

#[test]
fn a_row_tells_driver_check_and_the_commit_of_the_program() {
    let folder = Folder::new();
    let asked = ["bench", "softmax", "--shapes", "escnet-tiny", "--part", "classify", "--time", "0.02", "--no-peaks", "-o", "json"];
    let rows = |program: &Path, device: &str| -> Value {
        let output =
            Command::new(program).current_dir(folder.path()).env("ESCNET_CACHE", "off").args(asked).args(["--device", device]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let program = Path::new(env!("CARGO_BIN_EXE_escnet"));
    let row = &rows(program, "cpu")["rows"][0];
    assert_eq!((row["driver"].as_str(), row["checked"].as_str()), (Some(""), Some("f64")), "{row}");
    for device in ["cuda", "wgpu"].iter().filter(|device| has(&format!("{device}:0"))) {
        let row = &rows(program, device)["rows"][0];
        let driver = row["driver"].as_str().unwrap();
        assert!(driver.starts_with(if *device == "cuda" { "CUDA " } else { "" }) && !driver.is_empty(), "{row}");
    }
    // Wherever it is called; not of whatever folder it is called in.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let head = Command::new("git").arg("-C").arg(root).args(["rev-parse", "--short", "HEAD"]).output();
    if let Some(head) = head.ok().filter(|head| head.status.success() && program.starts_with(root)) {
        let head = String::from_utf8(head.stdout).unwrap();
        assert_eq!(row["commit"].as_str().unwrap().trim_end_matches('+'), head.trim(), "{row}");
    }
    let elsewhere = folder.path().join("escnet");
    std::fs::copy(program, &elsewhere).unwrap();
    assert_eq!(rows(&elsewhere, "cpu")["rows"][0]["commit"], "");
}

#[test]
fn whole_graphs_are_checked_and_measured() {
    let report = json(bench(&["--whole", "--part", "backbone,fusion,caption-step,train-classify", "--batch", "1,2", "-o", "json"]));
    let rows = report["rows"].as_array().unwrap();
    let told: Vec<(&str, &str)> = rows.iter().map(|row| (row["op"].as_str().unwrap(), row["shape"].as_str().unwrap())).collect();
    assert_eq!(told[..4], [("backbone", "1"), ("backbone", "2"), ("fusion", "1"), ("fusion", "2")]);
    assert_eq!(told.len(), 8);
    for row in rows {
        assert_eq!((row["pass"].as_str(), row["memory"].as_str()), (Some("whole"), Some("model")));
        assert!(row["us"].as_f64() > Some(0.0) && row["error"].as_f64() < Some(1e-4) && row["error"].as_f64() > Some(0.0), "{row}");
    }
    assert!(bench(&["--whole", "fusion", "--part", "classify,fusion"]).ok().contains("fusion.whole"));
    bench(&["--whole", "linear"]).ends(2);
    run(&["bench", "--whole", "--shapes", "sweep"]).ends(3);
}

#[test]
fn a_file_lists_extents() {
    let folder = Folder::new();
    folder.write("own.toml", b"matmul = [{ batch = 3, m = 5, n = 7, k = 11 }]\nsoftmax = [{ rows = 2, columns = 9 }]\n");
    let listed =
        |more: &[&str]| run(&[&["bench", "--shapes", &folder.join("own.toml"), "--device", "cpu", "--time", "0.02", "--no-peaks"], more].concat());
    let list = listed(&["--list"]).ok();
    assert!(list.contains("3x5x11 3x11x7") && list.contains("softmax.backward"), "{list}");
    let rows = json(listed(&["matmul", "-o", "json"]));
    assert!(rows["rows"][0]["error"].as_f64() < Some(1e-5), "{rows}");
    folder.write("wrong.toml", b"matmul = [{ m = 5, n = 7 }]\n");
    let wrong = run(&["bench", "--shapes", &folder.join("wrong.toml"), "--list"]).ends(3);
    assert!(wrong.err.contains("matmul[0]") && wrong.err.contains("wrong.toml"), "{}", wrong.err);
    run(&["bench", "--shapes", &folder.join("none.toml"), "--list"]).ends(3);
}

#[test]
fn roofs_are_measured_and_rows_held_against_them() {
    let peaks = json(run(&["peaks", "--device", "cpu", "--time", "0.02", "--format", "json"]));
    assert!(peaks["bytes_per_second"].as_f64() > Some(1e6) && peaks["flops_per_second"].as_f64() > Some(1e6), "{peaks}");
    let report = json(run(&["bench", "linear", "--shapes", "escnet-tiny", "--device", "cpu", "--time", "0.02", "-o", "json"]));
    let row = &report["rows"][0];
    assert!(row["roof"].as_f64() > Some(0.0) && ["memory", "arithmetic"].contains(&row["bound"].as_str().unwrap()), "{report}");
    run(&["peaks", "--time", "-1"]).ends(2);
    assert!(peaks["products_per_second"].is_null(), "a CPU has no tensor cores: {peaks}");
}

#[test]
fn rows_are_appended_and_compared() {
    let folder = Folder::new();
    let file = folder.join("rows.csv");
    for _ in 0..2 {
        bench(&["gelu", "--part", "caption-encode,train-caption", "--append", &file]).ok();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("date,commit,device,") && lines.len() > 2 && lines.len() % 2 == 1, "{text}");
    assert_eq!(lines.iter().filter(|line| **line == lines[0]).count(), 1);

    let same = run(&["bench", "compare", &file, &file, "-o", "json"]);
    assert!(!same.err.contains("before on"), "{same:?}");
    let same = json(same);
    assert!(same["pairs"].as_array().unwrap().iter().all(|pair| pair["ratio"] == 1.0), "{same}");
    let against = |file: &str| bench(&["gelu", "--part", "caption-encode,train-caption", "--against", file, "-o", "json"]);
    let beside = against(&file);
    assert!(!beside.err.contains("these on"), "{beside:?}");
    let beside = json(beside);
    assert_eq!(beside["compared"]["alone"], serde_json::json!([0, 0]), "{beside}");
    let beside = bench(&["gelu", "--part", "caption-encode,train-caption", "--against", &file, "-o", "csv"]).ok();
    let mut beside = csv::Reader::from_reader(beside.as_bytes());
    let number = |row: &BTreeMap<String, String>, name: &str| row[name].parse::<f64>().unwrap();
    for row in beside.deserialize::<BTreeMap<String, String>>() {
        let row = row.unwrap();
        assert!(row["peer"] == "rows" && (number(&row, "us") / number(&row, "peer_us") / number(&row, "ratio") - 1.0).abs() < 1e-9, "{row:?}");
    }
    assert!(!bench(&["gelu", "--part", "caption-encode,train-caption", "-o", "csv"]).ok().contains("peer"));

    let header: Vec<&str> = lines[0].split(',').collect();
    let column = header.iter().position(|name| *name == "us").unwrap();
    let device = header.iter().position(|name| *name == "device").unwrap();
    let mut reader = csv::Reader::from_path(&file).unwrap();
    let mut writer = csv::Writer::from_path(folder.join("slow.csv")).unwrap();
    writer.write_record(&header).unwrap();
    for record in reader.records() {
        let mut record: Vec<String> = record.unwrap().iter().map(str::to_owned).collect();
        for time in &mut record[column..column + 3] {
            *time = (100.0 * time.parse::<f64>().unwrap()).to_string();
        }
        record[device] = "abacus".to_owned();
        writer.write_record(&record).unwrap();
    }
    drop(writer);
    let slower = run(&["bench", "compare", &file, &folder.join("slow.csv")]).ends(1);
    assert!(slower.err.contains("became slower by more than 3%") && slower.out.contains("100.000"), "{slower:?}");
    let elsewhere = format!("before on {}, after on abacus", Device::cpu(0).unwrap().describe());
    assert!(slower.err.contains(&elsewhere), "{slower:?}");
    run(&["bench", "compare", &folder.join("slow.csv"), &file]).ok();
    assert!(against(&folder.join("slow.csv")).err.contains("slow on abacus, these on "));
}

#[test]
fn an_older_file_of_rows_keeps_its_columns() {
    let folder = Folder::new();
    let file = folder.join("rows.csv");
    let appended = |more: &[&str]| bench(&[&["softmax", "--part", "classify", "--append", &file], more].concat());
    appended(&[]).ok();
    // As they were before rows had a driver and what they were checked against.
    let text = std::fs::read_to_string(&file).unwrap();
    let older: String = text.lines().map(|line| format!("{}\n", line.rsplitn(3, ',').last().unwrap())).collect();
    assert!(older.starts_with("date,") && older.lines().next().unwrap().ends_with(",clocks"), "{older}");
    folder.write("rows.csv", older.as_bytes());
    let told = appended(&[]);
    assert!(told.err.contains("driver, checked"), "{}", told.err);
    let both = std::fs::read_to_string(&file).unwrap();
    assert!(both.starts_with(&older) && both.lines().count() == 2 * older.lines().count() - 1, "{both}");
    run(&["bench", "compare", &file, &file]).ok();
}

#[test]
fn what_cannot_be_measured_is_said() {
    assert!(bench(&["abacus"]).ends(2).err.contains("no operator of escnet-tiny matches `abacus`"));
    run(&["bench", "--shapes", "nowhere"]).ends(3);
    let folder = Folder::new();
    folder.write("rows.csv", b"a,b\n1,2\n");
    assert!(run(&["bench", "compare", &folder.join("rows.csv"), &folder.join("rows.csv")]).ends(3).err.contains("rows"));
    bench(&["layernorm", "--against", &folder.join("none.csv")]).ends(3);
    bench(&["layernorm", "--append", &folder.join("none/rows.csv")]).ends(3);
    assert!(bench(&["layernorm", "--append", &folder.join("rows.csv")]).ends(3).err.contains("columns"));
    assert_eq!(std::fs::read(folder.join("rows.csv")).unwrap(), b"a,b\n1,2\n");
}

#[test]
fn a_list_measures_nothing_and_one_run_prints_nothing() {
    let list = run(&["bench", "--list", "conv2d"]).ok();
    assert!(list.lines().count() > 20 && list.contains("1x224x224x3 64x7x7x3"), "{list}");
    let two = run(&["bench", "--list", "conv2d", "--batch", "1,8"]).ok();
    assert_eq!(two.lines().count() - 2, 2 * (list.lines().count() - 2));
    let once = bench(&["layernorm", "--run-once"]);
    assert!(once.err.lines().count() > 1 && once.err.lines().all(|line| line.contains(": 1 execution")), "{once:?}");
    assert_eq!(once.ok(), "");
    bench(&["linear", "--run-once", "--variant", "all"]).ends(2);
    bench(&["linear", "--run-once", "--variant", "mma64"]).ends(2);
    let cases = run(&["bench", "--list", "--shapes", "cases"]).ok();
    for op in ["argmax", "ema", "gelu", "global_avgpool", "loss_scale", "reduce", "relu", "scale", "select", "sgd", "transpose"] {
        assert!(cases.lines().any(|line| line.starts_with(&format!("{op} "))), "{op} of {cases}");
    }
    let sweep = run(&["bench", "--list", "--shapes", "sweep", "--dtype", "bf16"]).ok();
    assert!(sweep.contains("bf16:8192x8192 bf16:8192x8192") && sweep.contains("causal: true"), "{sweep}");
}

#[test]
fn variants_are_measured_side_by_side() {
    bench(&["softmax", "--variant", "mma64"]).ends(2);
    let all = bench(&["softmax", "--variant", "all", "-o", "json"]);
    assert!(all.err.contains("--variant all adds none"), "{}", all.err);
    let report = json(all);
    assert!(report["rows"].as_array().unwrap().iter().all(|row| row["variant"] == ""), "the CPU has none: {report}");
    if !has("cuda:0") {
        return;
    }
    let asked =
        ["bench", "linear 1x32x24", "--shapes", "escnet-tiny", "--part", "classify", "--device", "cuda", "--hot", "--time", "0.02", "--no-peaks"];
    let more = ["--dtype", "bf16", "--variant", "all", "-o", "json"];
    let report = json(run(&[&["bench", "linear bf16:1x32x24"], &asked[2..], &more].concat()));
    let variants: Vec<&str> = report["rows"].as_array().unwrap().iter().map(|row| row["variant"].as_str().unwrap()).collect();
    assert!(variants.contains(&"exact") && variants.contains(&"mma64"), "{variants:?}");
    let once = run(&[&["bench", "linear bf16:1x32x24"], &asked[2..9], &["--dtype", "bf16", "--variant", "mma64", "--run-once"]].concat());
    assert!(once.err.lines().count() > 0 && once.err.lines().all(|line| line.contains(": 1 execution") && line.contains("_mma64_")), "{once:?}");
    let f32 = json(run(&[&asked[..], &["--variant", "all", "-o", "json"]].concat()));
    assert!(f32["rows"].as_array().unwrap().iter().all(|row| row["variant"] == "exact" || row["variant"] == "skinny"), "{f32}");
}

#[test]
fn what_is_tuned_is_kept_and_used() {
    let folder = Folder::new();
    run(&["tune", "--model", "escnet-tiny", "--device", "cpu"]).ends(2);
    if !has("cuda:0") {
        return;
    }
    let file = folder.join("choices.json");
    let tune = |more: &[&str]| {
        let asked =
            ["tune", "--model", "escnet-tiny", "--device", "cuda", "--part", "classify", "--only", "linear bf16:1x32x24", "--hot", "--time", "0.02"];
        run(&[&asked[..], more].concat())
    };
    let told = json(tune(&["--dry-run", "--format", "json"]));
    let tuned = told["tuned"].as_array().unwrap();
    assert!(!tuned.is_empty(), "{told}");
    for one in tuned {
        let variants: Vec<&str> = one["us"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
        assert!(variants.contains(&one["rule"].as_str().unwrap()) && variants.contains(&one["best"].as_str().unwrap()), "{one}");
    }
    let table = tune(&["--out", &file]).ok();
    assert!(table.starts_with("operator") && table.contains("linear"), "{table}");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(kept["device"].as_str().unwrap().contains("CUDA on CPU") && kept["variants"].is_object(), "{kept}");
    tune(&["--out", &folder.join("none/choices.json")]).ends(3);
}

#[test]
fn what_is_tuned_on_wgpu_is_kept_and_used() {
    if !has("wgpu:0") {
        return;
    }
    const SHAPE: [&str; 4] = ["--part", "classify", "--device", "wgpu"];
    let folder = Folder::new();
    let kept = |arguments: &[&str]| {
        let output = program().env("ESCNET_CACHE", folder.path()).args(arguments).args(SHAPE).args(["--hot", "--time", "0.02"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let tune = |more: &[&str]| kept(&[&["tune", "--model", "escnet-tiny", "--only", "linear 1x32x24 48x24", "--format", "json"], more].concat());
    let told: Value = serde_json::from_str(&tune(&["--dry-run"])).unwrap();
    assert!(!folder.names().iter().any(|name| name.starts_with("tuned")), "a dry run keeps nothing");
    let tuned = &told["tuned"][0];
    let variants: Vec<&str> = tuned["us"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
    assert_eq!(variants, ["scalars", "tiles16x64", "tiles64x16", "tiles32x32", "tiles64x64", "tiles64x128", "tiles128x64", "tiles128x128"]);
    assert!(tuned["rule"] == "tiles32x32" && variants.contains(&tuned["best"].as_str().unwrap()), "{told}");

    // What was kept is used by the next run, whichever it is; here one that the rule would not take.
    tune(&[]);
    let name = folder.names().into_iter().find(|name| name.starts_with("tuned")).unwrap();
    let mut choices: Value = serde_json::from_slice(&std::fs::read(folder.path().join(&name)).unwrap()).unwrap();
    let subjects = subjects(&model("escnet-tiny").unwrap(), &[Part::Inference(Stage::Classify)], 1, DType::F32).unwrap();
    let subject = subjects.into_iter().find(|subject| subject.op.label() == "linear" && subject.shape().starts_with("1x32x24 48x24")).unwrap();
    choices["variants"][subject.signature()] = "tiles64x64".into();
    folder.write(&name, choices.to_string().as_bytes());
    let kernels = |more: &[&str]| {
        let asked = ["bench", "linear 1x32x24 48x24", "--shapes", "escnet-tiny", "--no-peaks", "-o", "json"];
        let report: Value = serde_json::from_str(&kept(&[&asked[..], more].concat())).unwrap();
        report["rows"][0]["kernels"].as_str().unwrap().to_owned()
    };
    assert_eq!(kernels(&[]), "linear_product_tiles64x64_f32");
    assert_eq!(kernels(&["--variant", "scalars"]), "linear_product_scalars_f32");
    std::fs::remove_file(folder.path().join(&name)).unwrap();
    assert_eq!(kernels(&[]), "linear_product_tiles32x32_f32");
}

#[test]
fn a_doctor_runs_kernels_and_says_what_is_there() {
    let report = json(run(&["doctor", "--device", "cpu", "--format", "json"]));
    let findings = report["findings"].as_array().unwrap();
    let types: Vec<&str> = findings.iter().map(|f| f["dtype"].as_str().unwrap()).collect();
    assert_eq!(types, ["f32", "f16", "bf16"]);
    for finding in findings {
        let error = finding["error"].as_f64().unwrap();
        assert!(finding["problem"].is_null() && finding["operators"].as_u64() > Some(15) && error > 0.0 && error < 0.02, "{finding}");
    }
    assert_eq!(report["devices"][0]["device"], "cpu");
    let told = run(&["doctor", "--device", "cpu"]).ok();
    assert!(told.starts_with("escnet ") && told.contains("operators are right"), "{told}");
    run(&["doctor", "--device", "abacus"]).ends(4);
}

#[test]
fn a_profile_has_every_node_and_its_pictures() {
    let folder = Folder::new();
    let (svg, memory, trace) = (folder.join("roofline.svg"), folder.join("memory.svg"), folder.join("trace.json"));
    let profile = |graph: &str, more: &[&str]| {
        let asked = ["profile", graph, "--model", "escnet-tiny", "--device", "cpu", "--threads", "1", "--runs", "2", "--time", "0.02"];
        run(&[&asked[..], more].concat())
    };
    let report = json(profile("train-classify", &["--format", "json", "--svg", &svg, "--memory", &memory, "--trace", &trace]));
    let nodes = report["profile"]["nodes"].as_array().unwrap();
    let ops: Vec<&str> = nodes.iter().map(|node| node["op"].as_str().unwrap()).collect();
    assert!(ops.contains(&"adamw") && ops.contains(&"conv2d.backward_weight"), "{ops:?}");
    assert!(nodes.iter().all(|node| node["us"].as_f64() > Some(0.0) && node["roof"].as_f64().is_some()), "{report}");
    let planned = report["profile"]["planned"].as_u64().unwrap();
    assert!(nodes.iter().all(|node| node["live"].as_u64().unwrap() <= planned), "what lives was planned");

    let drawn = std::fs::read_to_string(svg).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.contains("FLOP a byte") && drawn.contains("train-classify") && !drawn.contains("NaN"), "{drawn}");
    let drawn = std::fs::read_to_string(memory).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.contains("planned") && drawn.contains("backbone") && !drawn.contains("NaN"), "{drawn}");
    let events: Value = serde_json::from_str(&std::fs::read_to_string(trace).unwrap()).unwrap();
    let operators = events["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X" && event["tid"] == 2).count();
    assert_eq!(operators, nodes.len());

    let table = profile("caption-step", &["--nodes"]).ok();
    assert!(table.contains("captioner.text_decoder") && table.contains("beam_step"), "{table}");
    profile("classify", &["--svg", &folder.join("none/roofline.svg")]).ends(3);
}
