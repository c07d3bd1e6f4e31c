//! Conversion between element types, rounding to the nearest, ties to even. i32 goes to floating point; floats do not go to i32.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::map;
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, TensorType};

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("cast");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("cast");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), precision: Precision::Follow, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("cast", head!("cast.rs"), cases) };

/// Conversion to an element type.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// The element type that comes out.
    pub to: DType,
}

/// `x` in another element type.
///
/// # Errors
/// [`crate::Error::Op`] for a conversion to integers.
pub fn cast(b: &mut Builder, x: Value, to: DType) -> Result<Value> {
    if b.dtype(x) == to { Ok(x) } else { b.apply1(Cast { to }, &[x]) }
}

impl Op for Cast {
    fn stem(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("cast");
        check.count(inputs, 1)?;
        check.that(self.to.is_float(), "to", "floating point", self.to)?;
        Ok(vec![TensorType::new(self.to, inputs[0].shape)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let kernel = format!("cast_forward_{}_to_{}", launch.ty(0).dtype, self.to);
        let n = launch.ty(0).len();
        launch.add(cuda::Dispatch::new(&KERNELS, kernel).tensors([cuda::Operand::Input(0), cuda::Operand::Output(0)]).count(n).over_fours(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let entry = match (launch.ty(0).dtype, self.to) {
            (DType::I32, _) => "cast_forward_i32",
            (DType::F16, DType::F32) => "cast_forward_widen",
            _ => "cast_forward_f32",
        };
        let operands = [Operand::Input(0), Operand::Output(0)];
        launch.in_pieces(launch.ty(0).len(), &operands, |launch| {
            let n = launch.ty(0).len();
            launch.add(Dispatch::new(SHADER, entry, operands).size(n).over(n));
        });
        Ok(())
    }
}

/// On the CPU all floating-point types are held in one and rounded after each node, so a cast between them is a copy.
fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
    match args.ints(0) {
        Ok(x) => {
            let y = args.out(0)?;
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = T::of(x.into()));
            Ok(())
        }
        Err(_) => map(args, 0, |x| x),
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    if let Some(dy) = cx.grad(0) {
        let x = cx.input(0);
        let to = cx.builder().dtype(x);
        cx.set_by(0, Cast { to }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    // Through bf16 and back: sixteenths below 8 are exact, so the gradient of the round trip is the identity.
    let exact: Vec<f64> = (0..100).map(|i| f64::from(i) / 16.0).collect();
    let there_and_back = |name: &str, to: DType| {
        let exact = exact.clone();
        Case::of(name, move |b, v| {
            let low = cast(b, v[0], to)?;
            cast(b, low, DType::F32)
        })
        .fixed("x", [100], Fill::Values(exact))
    };
    vec![
        there_and_back("bf16", DType::BF16),
        there_and_back("f16", DType::F16),
        Case::of("f32", |b, v| b.apply1(Cast { to: DType::F32 }, v)).normal("x", [301]),
        Case::of("nothing", |b, v| b.apply1(Cast { to: DType::F32 }, v)).normal("x", [0]),
        Case::of("i32", |b, v| cast(b, v[0], DType::F32)).ints("x", [3, 7], Fill::Ints(-50, 50)),
    ]
}
