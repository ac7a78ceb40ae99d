//! The base62 digits of minted keys.

use zeroize::Zeroizing;

use crate::error::{KeyringError, KeyringErrorKind};

/// The digits `0` to `9`, `A` to `Z`, `a` to `z`. The value of a digit is its position.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The number of digits that hold 32 bits.
pub(super) const CHECKSUM_LEN: usize = 6;

pub(super) fn are_digits(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_alphanumeric)
}

/// Appends random digits from the operating system. Each digit is equally likely.
pub(super) fn push_random(text: &mut String, mut wanted: usize) -> Result<(), KeyringError> {
    let mut random = Zeroizing::new([0; 32]);
    while wanted > 0 {
        getrandom::fill(&mut *random)
            .map_err(|_| KeyringError::new(KeyringErrorKind::Randomness))?;
        // 248 is four times 62. Bytes from 248 on are skipped, because they would favour the first digits.
        let digits = random.iter().filter(|byte| **byte < 248).map(|byte| digit(u64::from(*byte)));
        for digit in digits.take(wanted) {
            text.push(digit);
            wanted -= 1;
        }
    }
    Ok(())
}

/// Returns CRC-32/ISO-HDLC in digits, the most significant one first.
pub(super) fn checksum(text: &[u8]) -> [char; CHECKSUM_LEN] {
    digits(crc32fast::hash(text).into())
}

/// Returns the last digits of a number.
pub(super) fn digits<const LEN: usize>(mut rest: u64) -> [char; LEN] {
    let mut digits = ['0'; LEN];
    for place in digits.iter_mut().rev() {
        *place = digit(rest);
        rest /= 62;
    }
    digits
}

fn digit(number: u64) -> char {
    DIGITS.get((number % 62) as usize).copied().map_or('0', char::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32_in_base_62() {
        // CRC-32/ISO-HDLC of "123456789" is 0xCBF43926, by its published check value.
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
        let value = checksum(b"123456789").iter().fold(0_u64, |value, digit| {
            value * 62 + DIGITS.iter().position(|d| char::from(*d) == *digit).unwrap() as u64
        });
        assert_eq!(value, 0xCBF4_3926);
        assert_eq!(checksum(b""), ['0'; 6]);
    }
}
