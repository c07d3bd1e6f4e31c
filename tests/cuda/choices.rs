//! What was measured on one of CUDA's devices, here their stand-in.

#[path = "../common/choices.rs"]
mod common;

use super::Scratch;
use super::probe::is_simulated;
use common::Chosen;
use escnet::{DType, Device, Result};

const EXACT: Chosen = Chosen { open: || Device::cuda(None), dtype: DType::F16, variant: "exact", kernel: "matmul_forward_nn_f16" };

#[test]
fn a_choice_is_used_for_its_signature_alone() -> Result<()> {
    if is_simulated() { EXACT.by_signature() } else { Ok(()) }
}

#[test]
fn choices_for_another_device_or_other_kernels_are_refused() -> Result<()> {
    if is_simulated() { EXACT.own_alone() } else { Ok(()) }
}

#[test]
fn choices_of_the_folder_of_caches_are_taken_and_damaged_ones_are_not() -> Result<()> {
    if is_simulated() { EXACT.of_folder(&Scratch::new().0) } else { Ok(()) }
}
