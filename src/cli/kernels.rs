//! `escnet kernels`: what GPUs run, compiled before it is needed.

use super::Done;
#[cfg(feature = "cuda")]
use super::stop::Stop;
use super::talk::Talk;
use clap::{Args, Subcommand};
#[cfg(feature = "cuda")]
use escnet::device::cuda::build::Folder;
use std::path::PathBuf;

/// Compiles the kernels that the program carries. For those who change them: the program itself needs neither this nor CUDA's toolkit.
#[derive(Debug, Args)]
pub struct Kernels {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compiles every CUDA kernel of a folder for every architecture, into its folder `images`
    ///
    /// The same sources and libraries give the same bytes. Needs NVRTC and nvFatbin, of CUDA's toolkit: tools/cuda_toolkit fetches them.
    Build(Build),
}

#[derive(Debug, Args)]
struct Build {
    /// Writes nothing and compares with what is there, byte for byte
    #[arg(long)]
    check: bool,
    /// Where the kernels are
    #[arg(long, value_name = "DIR", default_value = "kernels")]
    folder: PathBuf,
}

impl Kernels {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        match self.verb {
            Verb::Build(build) => build.run(talk),
        }
    }
}

impl Build {
    #[cfg(not(feature = "cuda"))]
    fn run(self, _: &Talk) -> Done {
        let reason = format!("nothing compiles {}: this program was built without it: build with --features cuda", self.folder.display());
        let _ = self.check;
        Err(escnet::Error::Device { device: "cuda".to_owned(), reason }.into())
    }

    #[cfg(feature = "cuda")]
    fn run(self, talk: &Talk) -> Done {
        let folder = Folder::read(&self.folder)?;
        let files = folder.stems().len();
        let bar = talk.counting("compiling", files);
        let built = folder.build(&|| bar.advance(1));
        bar.finish();
        let built = built?;
        let bytes: usize = built.iter().map(|file| file.bytes.len()).sum();
        if !self.check {
            folder.write(&built)?;
            talk.note(format_args!("{}: {files} files compiled, {bytes} bytes", self.folder.display()));
            return Ok(());
        }
        let differences = folder.differences(&built)?;
        if differences.is_empty() {
            talk.note(format_args!("{}: {files} files as compiled, {bytes} bytes", self.folder.display()));
            return Ok(());
        }
        Err(Stop::Check(format!("{}\nrun `escnet kernels build` and commit what it writes", differences.join("\n"))))
    }
}
