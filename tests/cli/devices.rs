//! `devices` and `doctor`: what is there, how much it has, and why what is there cannot be used.

use crate::program::{program, run};
use serde_json::Value;

fn devices() -> Vec<Value> {
    let report: Value = serde_json::from_str(&run(&["devices", "--format", "json"]).ok()).unwrap();
    report["devices"].as_array().unwrap().clone()
}

#[test]
fn devices_say_how_much_they_have() {
    for device in devices() {
        let (name, limits) = (device["device"].as_str().unwrap(), &device["limits"]);
        let has = |what: &str| limits[what].as_u64().is_some_and(|n| n > 0);
        match name.split(':').next().unwrap() {
            "cuda" => {
                assert!(device["driver"].as_str().unwrap().strip_prefix("CUDA ").is_some_and(|version| version.parse::<f64>().is_ok()), "{device}");
                assert!(device["can"].as_str().unwrap().starts_with("compute capability "), "{device}");
                assert!(["multiprocessors", "bytes of memory", "bytes of shared memory a block"].into_iter().all(has), "{device}");
            }
            "wgpu" => {
                let all = ["bytes a buffer", "bytes a binding", "bytes of workgroup memory", "invocations a workgroup", "storage buffers a kernel"];
                assert!(all.into_iter().all(has), "{device}");
                assert_eq!(has("invocations a subgroup at least"), device["can"].as_str().unwrap().contains("subgroups"), "{device}");
            }
            _ => assert!(name == "cpu" && limits.as_object().unwrap().is_empty(), "{device}"),
        }
    }
    let built: Value = serde_json::from_str(&run(&["doctor", "--device", "cpu", "--format", "json"]).ok()).unwrap();
    for (is_built, feature) in [(cfg!(feature = "wgpu"), "wgpu"), (cfg!(feature = "cuda"), "cuda"), (cfg!(feature = "vendor"), "vendor")] {
        assert_eq!(built["built_with"].as_array().unwrap().iter().any(|with| with == feature), is_built, "{built}");
    }
    let told = run(&["doctor", "--device", "cpu"]).ok();
    assert_eq!(told.contains("bytes a") || told.contains("B of "), devices().len() > 1, "{told}");
}

/// The stand-in for CUDA's driver passes for one that is too old, one that finds nothing, and an old device.
#[cfg(feature = "cuda")]
#[test]
fn a_driver_that_cannot_be_used_says_why() {
    if !devices().iter().any(|device| device["device"] == "cuda:0" && device["kind"] == "software") {
        assert!(std::env::var_os("ESCNET_REQUIRE_DEVICES").is_none(), "no stand-in for CUDA's driver");
        return;
    }
    for (setting, value, reason) in [
        ("CUDA_ON_CPU_DRIVER", "11080", "the driver is of CUDA 11.8; 12.0 or newer is needed"),
        ("CUDA_ON_CPU_ARCH", "75", "compute capability 7.5; 8.0 or newer is needed"),
        ("CUDA_ON_CPU_NO_DEVICE", "1", "device cuda: "),
    ] {
        let said = |arguments: &[&str]| {
            let output = program().args(arguments).env(setting, value).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stderr).unwrap()
        };
        let auto = said(&["devices"]);
        assert!(auto.lines().any(|line| line.contains("auto: ") && line.contains(reason)), "{setting}: {auto}");
        let advice = said(&["doctor", "--device", "cpu"]);
        assert!(advice.lines().any(|line| line.contains("CUDA cannot be used: ") && line.contains(reason)), "{setting}: {advice}");
    }
    assert!(!run(&["devices"]).err.contains("device cuda"), "it can be used as it is");
}
