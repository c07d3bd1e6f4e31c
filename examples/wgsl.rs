//! Writes the text of every WGSL kernel that the operators' cases and the small golden models need, as it is given to the GPU, to a folder:
//! `cargo run --example wgsl --features wgpu -- DIR`. Without one it only counts them.

use escnet::device::Kernel;
use escnet::device::wgpu::Abilities;
use escnet::graph::{Options, Segment, Session, Store, gradients};
use escnet::ops::{TABLE, rules};
use escnet::{DType, Device};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const MODELS: [&str; 4] = ["default", "i2t_lexicon_focal", "self_none", "t2i_ce"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if escnet::device::wgpu::adapters().is_empty() {
        println!("no adapter: nothing to write");
        return Ok(());
    }
    let mut kernels = BTreeSet::new();
    // Whatever the adapter can do, and the cases once more as in a browser, which has no subgroups.
    for (most, models) in [(Abilities::ALL, &MODELS[..]), (Abilities { subgroups: false, ..Abilities::ALL }, &[])] {
        kernels.extend(collect(&Device::wgpu_with(None, most)?, models)?);
    }
    let entries: BTreeSet<&str> = kernels.iter().map(|kernel| kernel.entry.as_str()).collect();
    println!("{} kernels of {} entry points", kernels.len(), entries.len());
    if let Some(folder) = std::env::args().nth(1).map(PathBuf::from) {
        std::fs::create_dir_all(&folder)?;
        let mut variants = BTreeMap::new();
        for Kernel { entry, source, .. } in &kernels {
            let variant = variants.entry(entry).and_modify(|n| *n += 1).or_insert(0);
            std::fs::write(folder.join(format!("{entry}.{variant}.wgsl")), &**source)?;
        }
    }
    Ok(())
}

/// Every kernel that the cases and these models run on a device.
fn collect(device: &Device, names: &[&str]) -> Result<Vec<Kernel>, Box<dyn std::error::Error>> {
    let gpu = device.gpu().ok_or("no GPU")?;
    for row in TABLE {
        for case in (row.cases)().iter().filter(|case| !case.large) {
            let (mut builder, values, results) = case.graph()?;
            let mut seeds = Vec::new();
            for (name, value) in results {
                let ty = builder.ty(value);
                if ty.dtype.is_float() {
                    seeds.push((value, builder.input(&format!("gradient of {name}"), ty)?));
                }
            }
            let wanted: Vec<_> = case.inputs.iter().zip(&values).filter(|(input, _)| input.gradient).map(|(_, value)| *value).collect();
            for (n, gradient) in gradients(&mut builder, &rules(), &seeds, &wanted)?.into_iter().enumerate() {
                if let Some(gradient) = gradient {
                    builder.output(&format!("gradient {n}"), gradient);
                }
            }
            let mut store = Store::new(device);
            // bf16 is on no GPU yet. Kernels are made before the first run, which is not needed.
            if let Ok(mut session) = Session::new(builder.finish(), &mut store, Options::default()) {
                session.run(&mut store, Segment::Prepare)?;
            }
        }
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    // With half precision where the adapter has it.
    let dtypes: &[DType] = if gpu.abilities().half { &[DType::F32, DType::F16] } else { &[DType::F32] };
    for model in names {
        for &dtype in dtypes {
            escnet::verify::model_folder(&models.join(model), device, dtype)?;
        }
    }
    Ok(gpu.kernels())
}
