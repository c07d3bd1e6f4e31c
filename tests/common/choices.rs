//! What was measured on a device is what operators use there, and nowhere else: for a product of 64 x 64, on devices whose kernels have variants.

use escnet::device::Choices;
use escnet::graph::{Builder, Graph, Options, Segment, Session, Store};
use escnet::ops::matmul::matmul;
use escnet::{DType, Device, Error, Result, TensorType};
use std::path::Path;

/// A device, what its numbers are, and a variant that its rule would not take, with the kernel that it is.
pub struct Chosen {
    pub open: fn() -> Result<Device>,
    pub dtype: DType,
    pub variant: &'static str,
    pub kernel: &'static str,
}

impl Chosen {
    fn product(&self) -> Result<Graph> {
        let mut b = Builder::new();
        let ty = TensorType::new(self.dtype, [64, 64]);
        let (x, y) = (b.input("x", ty)?, b.input("y", ty)?);
        let product = matmul(&mut b, x, y)?;
        b.output("product", product);
        Ok(b.finish())
    }

    /// The kernel that a session on the device launches for the product.
    fn launched(&self, device: &Device) -> Result<String> {
        let mut store = Store::new(device);
        let mut session = Session::new(self.product()?, &mut store, Options { timed: true, ..Options::default() })?;
        session.run(&mut store, Segment::Run)?;
        Ok(session.times()?[0].kernels[0].name())
    }

    fn signature(&self) -> Result<String> {
        let graph = self.product()?;
        let node = &graph.nodes()[0];
        Ok(node.op.signature(&node.inputs.iter().map(|&v| graph.ty(v)).collect::<Vec<_>>()))
    }

    /// A choice is used for its signature alone, and only where there is such a variant.
    pub fn by_signature(&self) -> Result<()> {
        let device = (self.open)()?;
        let rule = self.launched(&device)?;
        assert_ne!(rule, self.kernel);
        let mut choices = device.choices().expect("kernels have variants");
        choices.variants.insert(self.signature()?.replace("64, 64", "64, 72"), self.variant.to_owned());
        device.choose_by(choices.clone())?;
        assert_eq!(self.launched(&device)?, rule, "another product's");
        choices.variants.insert(self.signature()?, self.variant.to_owned());
        device.choose_by(choices.clone())?;
        assert_eq!(self.launched(&device)?, self.kernel);
        choices.variants.insert(self.signature()?, "a variant that is not there".to_owned());
        device.choose_by(choices)?;
        assert_eq!(self.launched(&device)?, rule, "what is not there is not used");
        Ok(())
    }

    /// Choices for another device, driver or other kernels are refused.
    pub fn own_alone(&self) -> Result<()> {
        let device = (self.open)()?;
        let own = device.choices().expect("kernels have variants");
        for other in [
            Choices { device: "another".to_owned(), ..own.clone() },
            Choices { driver: "11.0".to_owned(), ..own.clone() },
            Choices { kernels: "0".to_owned(), ..own.clone() },
        ] {
            assert_ne!(other.file_name(), own.file_name());
            assert!(matches!(device.choose_by(other), Err(Error::Device { .. })));
        }
        device.choose_by(own)
    }

    /// Choices that lie in a folder of caches are taken, and damaged ones are not.
    pub fn of_folder(&self, folder: &Path) -> Result<()> {
        let device = (self.open)()?;
        let rule = self.launched(&device)?;
        let mut choices = device.choices().expect("kernels have variants");
        choices.variants.insert(self.signature()?, self.variant.to_owned());
        let file = folder.join(choices.file_name());
        choices.write(&file)?;
        assert_eq!(Choices::read(&file)?, choices);
        device.keep_pipelines(folder);
        assert_eq!(self.launched(&device)?, self.kernel);

        std::fs::write(&file, "{").map_err(|e| Error::Io { path: file.clone(), source: e })?;
        assert!(matches!(Choices::read(&file), Err(Error::Config { .. })));
        let device = (self.open)()?;
        device.keep_pipelines(folder);
        assert_eq!(self.launched(&device)?, rule);
        Ok(())
    }
}
