//! Where frames end in a stream of bytes that only passes through (RFC 6455 §5.2).

/// Follows the frames of one direction. Whatever the peers say to each other, it only counts: a wrong header makes it count wrongly, never fail.
#[derive(Debug, Default)]
pub struct Boundary {
    header: [u8; 14],
    /// Bytes of the header that have come.
    have: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl Boundary {
    /// Whether the next byte begins a frame.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Takes all of `bytes`; how many that are.
    pub fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(&bytes[at..]);
        }
        at
    }

    /// Takes bytes up to the end of a frame, none when one ended just before; how many that are.
    pub fn advance_to_boundary(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.is_between() {
            at += self.step(&bytes[at..]);
        }
        at
    }

    /// Takes a byte of a header, or what there is of a payload. `bytes` is not empty.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= taken as u64;
            return taken;
        }
        self.header[self.have] = bytes[0];
        self.have += 1;
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        if self.have >= 2 && self.have == 2 + extended + mask {
            let length = self.header[2..2 + extended].iter().fold(0u64, |length, byte| length << 8 | u64::from(*byte));
            self.left = if extended == 0 { u64::from(self.header[1] & 0x7f) } else { length };
            self.have = 0;
            self.header = [0; 14];
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::websocket::Opcode;
    use crate::codec::websocket::frame::{Head, encode};

    proptest! {
        #[test]
        fn frames_end_where_they_end(
            lengths in prop::collection::vec((prop_oneof![0usize..130, 65530usize..65540], any::<bool>()), 1..6),
            cut in 1usize..5000,
            from in 0usize..400_000,
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for (length, masked) in lengths {
                bytes.extend_from_slice(&encode(Head::whole(Opcode::Binary), &vec![7; length], masked.then_some([1, 2, 3, 4])));
                ends.push(bytes.len());
            }
            let from = from % (bytes.len() + 1);
            let mut boundary = Boundary::default();
            for piece in bytes[..from].chunks(cut) {
                prop_assert_eq!(boundary.advance(piece), piece.len());
            }
            prop_assert_eq!(boundary.is_between(), ends.contains(&from));
            let mut at = from;
            for piece in bytes[from..].chunks(cut) {
                at += boundary.advance_to_boundary(piece);
                if boundary.is_between() {
                    break;
                }
            }
            prop_assert_eq!(Some(&at), ends.iter().find(|end| **end >= from));
        }

        #[test]
        fn any_bytes_are_counted(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut boundary = Boundary::default();
            prop_assert_eq!(boundary.advance(&bytes), bytes.len());
            prop_assert!(boundary.advance_to_boundary(&bytes) <= bytes.len());
        }
    }
}
