//! Padding to blocks in the manner of PKCS #7: each added byte holds the number of added bytes.

const BLOCKS: [usize; 4] = [256, 512, 1024, 2048];

/// Pads to the smallest block that leaves room for 16 bytes, if the padding is at most 255 bytes.
pub(crate) fn pad(mut frame: Vec<u8>) -> Vec<u8> {
    let Some(block) = BLOCKS.into_iter().find(|block| frame.len() + 16 <= *block) else { return frame };
    if let Ok(missing @ 1..) = u8::try_from(block - frame.len()) {
        frame.resize(block, missing);
    }
    frame
}

/// Removes padding; bytes without padding stay unchanged.
pub(crate) fn unpad(frame: &[u8]) -> &[u8] {
    let Some(count) = frame.last().map(|last| usize::from(*last)) else { return frame };
    match frame.len().checked_sub(count) {
        Some(length) if count > 0 && frame[length..].iter().all(|byte| usize::from(*byte) == count) => {
            &frame[..length]
        }
        _ => frame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_table() {
        let cases =
            [(22, 256), (240, 256), (241, 241), (256, 256), (257, 512), (496, 512), (497, 497), (768, 768)];
        let more =
            [(769, 1024), (1008, 1024), (1009, 1009), (1792, 1792), (1793, 2048), (2032, 2048), (2033, 2033)];
        for (length, padded) in cases.into_iter().chain(more) {
            assert_eq!(pad(vec![0; length]).len(), padded, "{length}");
        }
    }

    #[test]
    fn padding_comes_off_and_nothing_else_does() {
        assert_eq!(unpad(&pad(vec![7; 100])), vec![7; 100]);
        assert_eq!(unpad(&[1, 2, 3]), [1, 2, 3]);
        assert_eq!(unpad(&[9, 2, 2]), [9]);
        assert_eq!(unpad(&[5, 0]), [5, 0]);
        assert_eq!(unpad(&[200]), [200]);
        assert_eq!(unpad(&[]), [0u8; 0]);
    }
}
