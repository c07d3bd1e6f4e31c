//! What a session and its device do on a GPU, whatever the operators: `cargo nextest run --features wgpu --test gpu`.

#[path = "../common/mod.rs"]
mod common;
mod device;
mod extents;
mod models;
mod state;
mod variants;

use escnet::graph::{Builder, Options, Session, StateKind, Store};
use escnet::ops::{add::add, relu::relu};
use escnet::{DType, Device, TensorType};
use libtest_mimic::{Arguments, Failed, Trial};

type Outcome = Result<(), Failed>;

fn main() {
    let [no_gpu, no_half, _] = common::missing();
    let trial = |name: &str, run: fn() -> Outcome| Trial::test(name, run).with_ignored_flag(no_gpu);
    let mut trials = vec![
        trial("wgpu::adapters_are_numbered_in_order", device::adapters_are_numbered),
        trial("wgpu::a_number_without_an_adapter_is_refused", device::wrong_number),
        trial("wgpu::auto_takes_no_driver_in_software", device::auto),
        trial("wgpu::half_precision_is_refused_by_name", device::half_precision),
        trial("wgpu::a_grid_longer_than_an_axis_wraps", extents::wrapped_grid),
        trial("wgpu::subgroups_are_used_where_they_are_and_allowed", variants::subgroups),
        trial("wgpu::what_is_not_finite_comes_through_reductions", variants::not_finite),
        trial("wgpu::products_are_made_of_fragments_where_they_are_and_allowed", variants::fragments),
        trial("wgpu::a_timed_session_computes_the_same_and_takes_time", device::timed),
        trial("wgpu::a_tensor_beyond_what_every_device_binds_at_once", extents::larger_than_a_binding),
        trial("wgpu::what_cannot_be_cut_is_refused_by_name", extents::not_cut),
        trial("wgpu::a_model_in_pieces_says_what_the_whole_one_says", extents::model_in_pieces),
        trial("wgpu::more_than_a_buffer_may_hold_is_out_of_memory", device::out_of_memory),
        trial("wgpu::after_the_device_is_closed_everything_is_an_error", device::closed),
        trial("wgpu::an_optimizer_launches_little_however_many_parameters", state::few_launches),
        trial("wgpu::several_packs_give_the_bits_of_one", state::several_packs),
        trial("wgpu::state_that_moves_keeps_its_numbers_for_every_session", state::moved),
        trial("wgpu::one_trained_parameter_can_be_assigned_to_another", state::assigned),
        trial("wgpu::what_the_driver_made_is_kept_and_found_again", state::kept_pipelines),
        trial("wgpu::a_choice_is_used_for_its_signature_alone", || Ok(variants::SCALARS.by_signature()?)),
        trial("wgpu::choices_for_another_device_or_other_kernels_are_refused", || Ok(variants::SCALARS.own_alone()?)),
        trial("wgpu::choices_of_the_folder_of_caches_are_taken_and_damaged_ones_are_not", variants::kept_choices),
        trial("wgpu::a_model_from_memory_says_what_the_cpu_says", || models::whole_model(DType::F32, 1e-4)),
        // As far as half precision may be off at the end of a model, see `verify::Floor`.
        trial("wgpu_half::a_model_from_memory_says_what_the_cpu_says", || models::whole_model(DType::F16, 1e-2)).with_ignored_flag(no_half),
    ];
    for (stem, case) in extents::WRAPPED {
        let trial =
            Trial::test(format!("wgpu::a_grid_of_three_columns_computes_{stem}_{}", case.replace(' ', "_")), || extents::narrow_grid(stem, case));
        trials.push(trial.with_ignored_flag(no_gpu));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn check(holds: bool, what: impl ToString) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_string().into()) }
}

/// y = relu(x + s) with state s, of `n` elements.
fn small(n: usize, options: Options) -> escnet::Result<(Session, Store)> {
    small_on(&Device::wgpu(None)?, n, options)
}

fn small_on(device: &Device, n: usize, options: Options) -> escnet::Result<(Session, Store)> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([n]))?;
    let s = b.global_state("s", TensorType::f32([n]), StateKind::Parameter)?;
    let sum = add(&mut b, x, s)?;
    let y = relu(&mut b, sum)?;
    b.output("y", y);
    let mut store = Store::new(device);
    let session = Session::new(b.finish(), &mut store, options)?;
    Ok((session, store))
}
