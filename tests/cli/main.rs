//! The command line as a user meets it: what is printed where, in which form, and how it ends.

mod ablate;
mod bench;
mod boxed;
mod captions_dataset;
mod data_sets;
mod devices;
mod eval;
mod faults;
mod figures;
mod formats;
mod other_verbs;
mod profile;
mod program;
mod training;
