//! The digits of minted keys.

use zeroize::Zeroizing;

use crate::error::{ConfigError, ConfigErrorKind};

/// `0` to `9`, `A` to `Z`, `a` to `z`: the value of a digit is its position.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How many digits hold 32 bits.
pub(super) const CHECKSUM_LEN: usize = 6;

pub(super) fn are_digits(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_alphanumeric)
}

/// Appends so many digits from the operating system's random source, each as likely as any other.
pub(super) fn push_random(text: &mut String, mut wanted: usize) -> Result<(), ConfigError> {
    let mut random = Zeroizing::new([0; 32]);
    while wanted > 0 {
        getrandom::fill(&mut *random).map_err(|_| ConfigError::new(ConfigErrorKind::Randomness))?;
        // 248 is four times 62: the bytes above it would favour the first digits.
        let digits = random.iter().filter(|byte| **byte < 248).map(|byte| digit(u64::from(*byte)));
        for digit in digits.take(wanted) {
            text.push(digit);
            wanted -= 1;
        }
    }
    Ok(())
}

/// CRC-32/ISO-HDLC, the most significant digit first.
pub(super) fn checksum(text: &[u8]) -> [char; CHECKSUM_LEN] {
    digits(crc32fast::hash(text).into())
}

/// The last digits of a number.
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
    fn the_checksum_is_the_published_one_in_base_62() {
        // The check value of CRC-32/ISO-HDLC: 0xCBF43926 over "123456789".
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
        let value = checksum(b"123456789").iter().fold(0_u64, |value, digit| {
            value * 62 + DIGITS.iter().position(|d| char::from(*d) == *digit).unwrap() as u64
        });
        assert_eq!(value, 0xCBF4_3926);
        assert_eq!(checksum(b""), ['0'; 6]);
    }
}
