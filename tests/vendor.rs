//! NVIDIA's libraries as yardsticks, on those that stand in for them: `tools/cuda_on_cpu/run cargo nextest run --features vendor --test vendor`. What they compute is compared
//! with f64 before they get a row, so a row says that layouts, transposes and what follows a product were described rightly.

use escnet::bench::clocks::Clocks;
use escnet::bench::peers::Peers;
use escnet::bench::record::{Host, Row};
use escnet::bench::sampling::Patience;
use escnet::bench::shapes::{Role, Subject};
use escnet::bench::subject::Memory;
use escnet::bench::{Settings, measure_beside};
use escnet::op::Op;
use escnet::ops::conv2d::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight};
use escnet::ops::gelu::Gelu;
use escnet::ops::linear::{Activation, Linear, LinearBackwardInput, LinearBackwardWeight};
use escnet::ops::matmul::MatMul;
use escnet::ops::support::elementwise::Map;
use escnet::{DType, Device, Error, TensorType};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

const TYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// The stand-in; none where there is none and none is required. On a real GPU whatever its libraries compute is checked by the benchmark itself.
fn device() -> Option<Device> {
    match Device::cuda_simulated() {
        Ok(device) => Some(device),
        Err(e) if std::env::var_os("ESCNET_REQUIRE_DEVICES").is_some() => panic!("{e}"),
        Err(e) => {
            println!("left out: {e}");
            None
        }
    }
}

/// An operator on tensors of these extents; whichever of its outputs are wanted.
fn subject(op: impl Op, dtype: DType, inputs: &[&[usize]], wanted: &[bool]) -> Subject {
    let types: Vec<TensorType> = inputs.iter().map(|extents| TensorType::new(dtype, escnet::Shape::new(extents).unwrap())).collect();
    let outputs = op.infer(&types).unwrap();
    let cost = op.cost(&types, &outputs);
    let outputs = outputs.into_iter().zip(wanted.iter().copied()).collect();
    Subject { op: Arc::new(op), inputs: types.into_iter().map(|ty| (ty, Role::Given)).collect(), outputs, cost, part: "test", uses: 1 }
}

/// What of a library has a row for a subject, and the row; what it said where it has none.
fn measured(peer: &str, device: &Device, subject: &Subject, memory: Memory) -> Result<(String, Row), String> {
    let mut peers = Peers::open(&[peer.to_owned()], device).unwrap();
    let dtype = subject.inputs[0].0.dtype;
    let host = Host::new(device, String::new(), 1, dtype, "", &Arc::new(Clocks::watch(device)));
    let patience = Patience { samples: 1, least: Duration::ZERO, noise: 1.0, most: Duration::ZERO };
    let ours = measure_beside(&mut peers, subject, device, None, &host, &Settings { dtype, memory, patience }).unwrap();
    let notes = peers.notes(std::slice::from_ref(&ours)).join("; ");
    let found = peers.measured().into_iter().find_map(|(whose, rows)| Some((whose.to_owned(), rows.first()?.clone())));
    let (whose, row) = found.ok_or(notes)?;
    assert_eq!(row.key(), ours.key());
    assert!(row.us > 0.0 && row.p5 <= row.p95 && row.commit.starts_with("cu"), "{row:?}");
    let beside = peers.beside(&[ours]).unwrap();
    assert_eq!((beside.pairs.len(), &beside.pairs[0].peer), (1, &whose));
    Ok((whose, row))
}

/// The same on the stand-in: whose the row is, computed and right.
#[track_caller]
fn whose(peer: &str, device: &Device, subject: &Subject) -> String {
    let (whose, row) = measured(peer, device, subject, Memory::Hot).unwrap_or_else(|notes| panic!("{subject:?}: {notes}"));
    let most = if subject.inputs[0].0.dtype == DType::F32 { 1e-5 } else { 2e-2 };
    assert!(row.error.unwrap() <= most, "{row:?}");
    whose
}

#[test]
fn products_lie_as_cublas_is_told() {
    let Some(device) = device() else { return };
    let (m, n, k) = (5, 11, 7);
    for dtype in TYPES {
        for [transpose_a, transpose_b] in [[false, false], [true, false], [false, true], [true, true]] {
            let (a, b) = (if transpose_a { [k, m] } else { [m, k] }, if transpose_b { [n, k] } else { [k, n] });
            let op = MatMul { transpose_a, transpose_b };
            assert_eq!(whose("cublas", &device, &subject(op, dtype, &[&a, &b], &[true])), "cublas");
            let [many_a, many_b] = [a, b].map(|[rows, columns]| [2, 3, rows, columns]);
            assert_eq!(whose("cublas", &device, &subject(op, dtype, &[&many_a, &many_b], &[true])), "cublas");
        }
        assert_eq!(whose("cublas", &device, &subject(LinearBackwardInput::default(), dtype, &[&[2, m, n], &[n, k]], &[true])), "cublas");
    }
}

#[test]
fn what_follows_a_product_is_told_too() {
    let Some(device) = device() else { return };
    for dtype in TYPES {
        for (activation, wide) in [(Activation::None, 16), (Activation::Relu, 15), (Activation::Gelu, 16), (Activation::Gelu, 15)] {
            for bias in [false, true] {
                for saved in [false, true].into_iter().take(1 + usize::from(activation == Activation::Gelu)) {
                    let all: [&[usize]; 3] = [&[2, 3, 7], &[wide, 7], &[wide]];
                    let subject = subject(Linear { bias, activation, ..Linear::default() }, dtype, &all[..2 + usize::from(bias)], &[true, saved]);
                    // Its GELU is not exact enough for f32, and what it saves lies in lines of eight.
                    let bare = activation == Activation::Gelu && (dtype == DType::F32 || (saved && wide % 8 != 0));
                    let want = if bare { "cublas without gelu" } else { "cublas" };
                    assert_eq!(whose("cublas", &device, &subject), want, "{dtype:?} {activation:?} {wide} {bias} {saved}");
                }
            }
        }
        let residual: [&[usize]; 4] = [&[2, 3, 7], &[16, 7], &[16], &[2, 3, 16]];
        let op = Linear { bias: true, residual: true, ..Linear::default() };
        assert_eq!(whose("cublas", &device, &subject(op, dtype, &residual, &[true])), "cublas without residual");
        let mut mixed = subject(op, dtype, &residual, &[true]);
        (mixed.inputs[3].0, mixed.outputs[0].0) = (TensorType::f32([2, 3, 16]), TensorType::f32([2, 3, 16]));
        let want = if dtype == DType::F32 { "cublas without residual" } else { "cublas without bias and residual" };
        assert_eq!(whose("cublas", &device, &mixed), want);
        let op = Linear { bias: true, wide: true, ..Linear::default() };
        assert_eq!(
            whose("cublas", &device, &subject(op, dtype, &residual[..3], &[true])),
            if dtype == DType::F32 { "cublas" } else { "cublas without bias and activation" }
        );
        let op = LinearBackwardInput { activation: Activation::Gelu, wide: true };
        assert_eq!(whose("cublas", &device, &subject(op, dtype, &[&[2, 3, 7], &[7, 10], &[2, 3, 10]], &[true])), "cublas without gelu");
        for wanted in [false, true] {
            let subject = subject(LinearBackwardWeight, dtype, &[&[2, 3, 7], &[2, 3, 10]], &[true, wanted]);
            let want = if wanted && dtype == DType::F32 { "cublas without bias" } else { "cublas" };
            assert_eq!(whose("cublas", &device, &subject), want, "{dtype:?} {wanted}");
        }
    }
}

#[test]
fn convolutions_lie_as_cudnn_is_told() {
    let Some(device) = device() else { return };
    let (x, w) = ([2, 7, 6, 3], [4, 3, 2, 3]);
    for dtype in TYPES {
        for (stride, padding) in [(1, 0), (1, 1), (2, 1)] {
            let y = [2, (7 + 2 * padding - 3) / stride + 1, (6 + 2 * padding - 2) / stride + 1, 4];
            for [bias, residual, relu] in [[false; 3], [true, false, false], [true, false, true], [false, true, true], [true, true, true]] {
                let activation = if relu { Activation::Relu } else { Activation::None };
                let op = Conv2d { stride, padding, bias, residual, activation, moments: false };
                let mut inputs: Vec<&[usize]> = vec![&x, &w];
                inputs.extend(bias.then_some(&[4][..]));
                inputs.extend(residual.then_some(&y[..]));
                assert_eq!(whose("cudnn", &device, &subject(op, dtype, &inputs, &[true])), "cudnn", "{dtype:?} {op:?}");
            }
            let of_x = Conv2dBackwardInput { stride, padding, size: [7, 6] };
            assert_eq!(whose("cudnn", &device, &subject(of_x, dtype, &[&y, &w], &[true])), "cudnn", "{dtype:?} {of_x:?}");
            for wanted in [false, true] {
                let of_w = Conv2dBackwardWeight { stride, padding, kernel: [3, 2] };
                assert_eq!(whose("cudnn", &device, &subject(of_w, dtype, &[&y, &x], &[true, wanted])), "cudnn", "{dtype:?} {of_w:?}");
            }
        }
        let op = Conv2d { stride: 1, padding: 1, bias: false, residual: false, activation: Activation::None, moments: true };
        assert_eq!(whose("cudnn", &device, &subject(op, dtype, &[&x, &w], &[true, true])), "cudnn without moments");
    }
}

#[test]
fn of_algorithms_the_fastest_counts_that_is_to_be_had() {
    let Some(device) = device() else { return };
    let product = subject(MatMul { transpose_a: false, transpose_b: false }, DType::F32, &[&[64, 64], &[64, 64]], &[true]);
    let (_, row) = measured("cublas", &device, &product, Memory::Hot).unwrap();
    assert_eq!((row.kernels.as_str(), row.commit.as_str(), row.memory.as_str()), ("cublasLt 1", "cuBLASLt 13.0.0", "hot"));
    // So many copies as a cold row has, each with pointers of its own.
    let linear =
        subject(Linear { bias: true, activation: Activation::Relu, ..Linear::default() }, DType::F32, &[&[1, 1024], &[1024, 1024], &[1024]], &[true]);
    let (_, row) = measured("cublas", &device, &linear, Memory::Cold).unwrap();
    assert_eq!(row.memory, "cold");
}

#[test]
fn what_is_too_large_for_f64_is_compared_with_the_cpu_s() {
    let Some(device) = device() else { return };
    let mut product = subject(MatMul { transpose_a: false, transpose_b: true }, DType::BF16, &[&[16, 24], &[32, 24]], &[true]);
    product.cost.flops = u64::MAX / 4;
    let (_, row) = measured("cublas", &device, &product, Memory::Hot).unwrap();
    assert!(row.checked == "cpu" && row.error.unwrap() < 2e-2, "{row:?}");
}

#[test]
fn what_a_library_does_not_have_is_left_blank() {
    let Some(device) = device() else { return };
    let gelu = subject(Map(Gelu), DType::F32, &[&[64]], &[true]);
    for peer in ["cublas", "cudnn"] {
        assert_eq!(measured(peer, &device, &gelu, Memory::Hot).unwrap_err(), "");
    }
    let product = subject(MatMul { transpose_a: false, transpose_b: false }, DType::F32, &[&[8, 8], &[8, 8]], &[true]);
    assert_eq!(measured("cudnn", &device, &product, Memory::Hot).unwrap_err(), "");
}

#[test]
fn a_device_that_is_none_of_cuda_s_is_an_error() {
    let cpu = Device::cpu(1).unwrap();
    let error = Peers::open(&["cublas".to_owned()], &cpu).unwrap_err();
    let wanted = format!("not on {}: --device cuda", cpu.describe());
    assert!(matches!(&error, Error::Device { device, reason } if device == "cublas" && reason.contains(&wanted)), "{error}");
}

/// `escnet bench` of a small model's operators on the stand-in.
fn bench(more: &[&str], settings: &[(&str, &Path)]) -> Output {
    let asked = ["bench", "--shapes", "escnet-tiny", "--part", "classify", "--device", "cuda", "--hot", "--time", "0", "--no-peaks"];
    Command::new(env!("CARGO_BIN_EXE_escnet")).env("ESCNET_CACHE", "off").args(asked).args(more).envs(settings.iter().copied()).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("escnet-vendor-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn several_peers_stand_beside_each_row() {
    if device().is_none() {
        return;
    }
    let folder = folder("peers");
    let report = json(&bench(&["linear", "--against", "cublas,cudnn", "-o", "json"], &[]));
    let pairs = report["compared"]["pairs"].as_array().unwrap();
    assert!(pairs.len() > 2 && pairs.iter().all(|pair| pair["peer"].as_str().unwrap().starts_with("cublas")), "{report}");
    assert!(report["libraries"]["cublas"][0]["error"].as_f64() < Some(1e-5), "{report}");
    // A file whose rows are faster than anything.
    let mut rows = report["rows"].clone();
    rows.as_array_mut().unwrap().truncate(1);
    rows[0]["us"] = 1e-6.into();
    let fast = folder.join("fast.json");
    std::fs::write(&fast, rows.to_string()).unwrap();
    let told = bench(&["linear", "--against", &format!("cublas,{}", fast.display())], &[]);
    let table = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && table.contains(" fast") && table.contains(" cublas"), "{told:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_wrong_is_not_shown() {
    if device().is_none() {
        return;
    }
    for (peer, operator) in [("cublas", "linear"), ("cudnn", "conv2d 1x96x96x3")] {
        let told = bench(&[operator, "--against", peer, "-o", "json"], &[("CUDA_ON_CPU_WRONG", Path::new(peer))]);
        let report = json(&told);
        assert!(!report["rows"].as_array().unwrap().is_empty() && report["compared"]["pairs"].as_array().unwrap().is_empty(), "{report}");
        let notes = String::from_utf8_lossy(&told.stderr);
        assert!(notes.contains(&format!("{peer} has no row for")) && notes.contains("expected an error of at most"), "{notes}");
    }
}

#[test]
fn a_library_that_is_missing_is_named_and_where_it_is_to_be_had() {
    if device().is_none() {
        return;
    }
    let folder = folder("alone");
    let paths = std::env::var_os("LD_LIBRARY_PATH").unwrap();
    let driver = std::env::split_paths(&paths).map(|path| path.join("libcuda.so.1")).find(|path| path.is_file()).unwrap();
    std::fs::copy(driver, folder.join("libcuda.so.1")).unwrap();
    for (peer, package) in [("cublas", "nvidia-cublas"), ("cudnn", "nvidia-cudnn-cu13")] {
        let told = bench(&["linear", "--against", peer], &[("LD_LIBRARY_PATH", &folder)]);
        let error = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.code() == Some(4) && error.contains(peer) && error.contains("was found") && error.contains(package), "{told:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
