//! The element types a safetensors file may hold, more than a [`Tensor`](crate::Tensor) may.

use crate::tensor::DType;
use std::fmt;

/// Element type of a tensor in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum StoredType {
    Bool,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    U16,
    I16,
    F16,
    BF16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

/// Each type with its name in a header and the bytes of an element.
const TYPES: [(StoredType, &str, usize); 15] = [
    (StoredType::Bool, "BOOL", 1),
    (StoredType::U8, "U8", 1),
    (StoredType::I8, "I8", 1),
    (StoredType::F8E5M2, "F8_E5M2", 1),
    (StoredType::F8E4M3, "F8_E4M3", 1),
    (StoredType::U16, "U16", 2),
    (StoredType::I16, "I16", 2),
    (StoredType::F16, "F16", 2),
    (StoredType::BF16, "BF16", 2),
    (StoredType::U32, "U32", 4),
    (StoredType::I32, "I32", 4),
    (StoredType::F32, "F32", 4),
    (StoredType::U64, "U64", 8),
    (StoredType::I64, "I64", 8),
    (StoredType::F64, "F64", 8),
];

impl StoredType {
    /// The type a header calls by this name.
    pub fn parse(name: &str) -> Option<Self> {
        TYPES.iter().find(|t| t.1 == name).map(|t| t.0)
    }

    /// The name in a header.
    pub fn name(self) -> &'static str {
        TYPES[self as usize].1
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        TYPES[self as usize].2
    }

    /// The same type in memory, where it is one of f32, f16 and bf16: those a model's weights may have.
    pub fn float(self) -> Option<DType> {
        match self {
            StoredType::F32 => Some(DType::F32),
            StoredType::F16 => Some(DType::F16),
            StoredType::BF16 => Some(DType::BF16),
            _ => None,
        }
    }
}

impl From<DType> for StoredType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => StoredType::F32,
            DType::F16 => StoredType::F16,
            DType::BF16 => StoredType::BF16,
            DType::I32 => StoredType::I32,
        }
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_types() {
        for (i, (stored, name, _)) in TYPES.into_iter().enumerate() {
            assert_eq!(stored as usize, i);
            assert_eq!(StoredType::parse(name), Some(stored));
        }
    }
}
