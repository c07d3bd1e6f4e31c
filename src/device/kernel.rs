//! What a device was given to run.

use std::sync::Arc;

/// A kernel, as it can be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    /// The entry point, `<op>_<pass>[_<variant>]_<dtype>`.
    pub entry: String,
    /// Which variant it is, where the entry point does not tell: several are one text with other constants.
    pub variant: Option<String>,
    /// The whole text: `const` lines, what every kernel may use, and the kernel.
    pub source: Arc<str>,
}

impl Kernel {
    /// What it is called in measurements: `<op>_<pass>[_<variant>]_<dtype>`.
    pub fn name(&self) -> String {
        match (&self.variant, self.entry.rsplit_once('_')) {
            (Some(variant), Some((pass, dtype))) => format!("{pass}_{variant}_{dtype}"),
            _ => self.entry.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kernel;

    #[test]
    fn a_name_has_the_variant() {
        let name = |variant: Option<&str>| {
            Kernel { entry: "linear_backward_input_f32".into(), variant: variant.map(str::to_owned), source: "".into() }.name()
        };
        assert_eq!([name(None), name(Some("tiles32x32"))], ["linear_backward_input_f32", "linear_backward_input_tiles32x32_f32"]);
    }
}
