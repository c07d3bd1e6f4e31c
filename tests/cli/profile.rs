//! `profile`: where a graph's time goes.

use crate::program::run;
use escnet::bench::parts::{Part, model};
use escnet::bench::profile::{Setting, profile as profile_on};
use escnet::bench::trace::trace;
use escnet::{DType, Device};
use serde_json::Value;

/// A run of the tiny model on the CPU.
fn profile(graph: &str, more: &[&str]) -> String {
    let asked = ["profile", graph, "--model", "escnet-tiny", "--device", "cpu", "--threads", "1", "--runs", "2", "--time", "0.02"];
    run(&[&asked, more].concat()).ok()
}

#[test]
fn sums_say_what_bounds_them() {
    let report: Value = serde_json::from_str(&profile("classify", &["--format", "json"])).unwrap();
    let nodes = report["profile"]["nodes"].as_array().unwrap();
    let us = |list: &Value| list.as_array().unwrap().iter().map(|x| x["us"].as_f64().unwrap()).sum::<f64>();
    for of in ["parts", "operators"] {
        let sums = report[of].as_array().unwrap();
        assert_eq!(sums.iter().map(|sum| sum["nodes"].as_u64().unwrap()).sum::<u64>(), nodes.len() as u64);
        assert!((us(&report[of]) / us(&report["profile"]["nodes"]) - 1.0).abs() < 1e-9, "{of}");
        assert!(sums.iter().all(|sum| ["memory", "arithmetic"].contains(&sum["bound"].as_str().unwrap())), "{sums:?}");
    }
    let table = profile("classify", &[]);
    assert_eq!(table.matches("bound by").count(), 2, "{table}");
    let conv = table.lines().find(|line| line.starts_with("conv2d")).unwrap();
    assert!(conv.ends_with("arithmetic") || conv.ends_with("memory"), "{table}");
}

/// Host and device lanes of a trace of a small run: (name, start, end), in microseconds. No roofs: on a device in software they take long.
fn lanes(device: &str) -> [Vec<(String, f64, f64)>; 2] {
    // Of two segments: what the second's nodes say is on the clock of the first's.
    let setting = Setting { part: Part::TrainClassify, batch: 1, dtype: DType::F32, runs: 2 };
    let profile = profile_on(&model("escnet-tiny").unwrap(), &setting, &Device::parse(device, 0, DType::F32).unwrap(), None).unwrap();
    let trace = trace(&profile, str::to_owned);
    [3, 2].map(|lane| {
        let own = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X" && event["tid"] == lane);
        let span = |event: &Value| {
            let [from, long] = ["ts", "dur"].map(|key| event[key].as_f64().unwrap());
            (event["name"].as_str().unwrap().to_owned(), from, from + long)
        };
        own.map(span).collect()
    })
}

#[test]
fn a_trace_has_host_and_device_on_one_clock() {
    let devices: Value = serde_json::from_str(&run(&["devices", "--format", "json"]).ok()).unwrap();
    let names: Vec<&str> = devices["devices"].as_array().unwrap().iter().map(|device| device["device"].as_str().unwrap()).collect();
    for device in names {
        let [host, nodes] = lanes(device);
        let told: Vec<&str> = host.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(told, if device == "cpu" { vec!["runs"] } else { vec!["queues a run", "waits"] });
        let done = host.last().unwrap().2;
        assert!(host[0].1 == 0.0 && host.windows(2).all(|pair| pair[0].2 == pair[1].1 && pair[0].1 < pair[0].2), "{device}: {host:?}");
        // A clock may tell halves of a microsecond.
        assert!(nodes.windows(2).all(|pair| pair[0].2 <= pair[1].1 + 1.0), "{device}: nodes one after another");
        let (began, ended) = (nodes[0].1, nodes[nodes.len() - 1].2);
        assert!(began >= 0.0 && (ended - done).abs() < 1.0 && ended - began > 0.2 * done, "{device}: from {began} to {ended} of {done}");
    }
}
