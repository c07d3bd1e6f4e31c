//! Which processor it is.

/// The processor's own name for its model, as `Intel(R) Xeon(R) Processor`; none where it has none to give, as on anything but x86-64.
pub fn model() -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        // The name is 48 bytes in the registers of three leaves, and the leaf before them says which is the last there is.
        const NAME: std::ops::RangeInclusive<u32> = 0x8000_0002..=0x8000_0004;
        if __cpuid(0x8000_0000).eax < *NAME.end() {
            return None;
        }
        let registers = NAME.map(__cpuid).flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]);
        trimmed(&registers.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// What stands before the first zero, words one blank apart: some processors pad their names in the middle.
#[cfg(target_arch = "x86_64")]
fn trimmed(name: &[u8]) -> Option<String> {
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    let words: Vec<String> = String::from_utf8_lossy(name).split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_zero_and_is_not_padded() {
        assert_eq!(trimmed(b"       Intel(R) Xeon(R) CPU   @ 2.10GHz\0\0ab\0").as_deref(), Some("Intel(R) Xeon(R) CPU @ 2.10GHz"));
        assert_eq!([trimmed(b"  \0\0"), trimmed(&[0; 48]), trimmed(b"")], [None, None, None]);
    }
}
