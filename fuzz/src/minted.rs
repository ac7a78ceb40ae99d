//! Minted keys, as the documentation of `KeyFormat` lays them out.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// At most 32 letters and digits, with single `_` between them.
pub fn is_prefix(text: &str) -> bool {
    let is_inside = |char: char| char == '_' || char.is_ascii_alphanumeric();
    let has_bad_edge = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (1..=32).contains(&text.len()) && text.chars().all(is_inside) && !has_bad_edge
}

/// Its public id, or the kind of the error.
pub fn read<'k>(prefix: &str, key: &'k [u8]) -> Result<&'k str, &'static str> {
    let parts = std::str::from_utf8(key).map(|key| key.rsplitn(3, '_').collect::<Vec<_>>());
    let is = |part: &str, len| part.len() == len && part.bytes().all(|byte| DIGITS.contains(&byte));
    match parts.as_deref() {
        Ok([secret, id, its]) if is_prefix(its) && is(id, 8) && is(secret, 28) => match () {
            () if *its != prefix => Err("foreign_key"),
            () if !key.ends_with(checksum(&key[..key.len() - 6]).as_bytes()) => Err("checksum"),
            () => Ok(id),
        },
        _ => Err("key_layout"),
    }
}

/// A key whose id and secret are made of these bytes.
pub fn made_of(prefix: &str, bytes: &[u8]) -> String {
    let mut bytes = bytes.iter().chain(std::iter::repeat(&0));
    let mut digits = |count| -> String {
        let bytes = bytes.by_ref().take(count);
        bytes.map(|byte| char::from(DIGITS[usize::from(*byte) % 62])).collect()
    };
    let key = format!("{prefix}_{}_{}", digits(8), digits(22));
    let checksum = checksum(key.as_bytes());
    key + &checksum
}

/// CRC-32/ISO-HDLC, bit by bit, in six digits.
fn checksum(text: &[u8]) -> String {
    let mut crc = u32::MAX;
    for byte in text {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut rest = !crc;
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits.map(char::from).iter().collect()
}
