//! Data sets in every layout, affective captions, and what a check of a data set finds.

mod captions;
mod folder;
mod layouts;
