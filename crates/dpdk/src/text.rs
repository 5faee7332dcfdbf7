//! Text that C functions write into buffers.

use std::ffi::c_char;

/// The text before the first NUL in `buffer`, or all of it.
pub(crate) fn of_buffer(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> =
        buffer.iter().map(|byte| byte.to_ne_bytes()[0]).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_holds_text_to_its_first_nul() {
        let buffer: Vec<c_char> =
            b"net_ring0\0rest".iter().map(|byte| c_char::from_ne_bytes([*byte])).collect();
        assert_eq!(of_buffer(&buffer), "net_ring0");
        assert_eq!(of_buffer(&buffer[..3]), "net", "a buffer may lack the NUL");
        assert_eq!(of_buffer(&[]), "");
    }
}
