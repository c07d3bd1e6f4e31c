//! Each layout as it lies on disk.
