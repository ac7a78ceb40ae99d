//! The `grpc-status-details-bin` of a rejection, as `google.rpc.Status` in protobuf and base64.

/// Writes a status with a `google.rpc.RetryInfo`.
///
/// The code and the message repeat `grpc-status` and `grpc-message`, because clients compare them.
pub(super) fn retry_info(code: u8, message: &str, seconds: u64) -> String {
    const TYPE_URL: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";

    let duration = varint(&[1 << 3], seconds);
    let info = field(1, &duration);
    let any = [field(1, TYPE_URL), field(2, &info)].concat();
    let status = [varint(&[1 << 3], code.into()), field(2, message.as_bytes()), field(3, &any)];
    base64(&status.concat())
}

/// Writes a field with a length, such as a message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    const LEN: u8 = 2;

    let mut field = varint(&[number << 3 | LEN], content.len() as u64);
    field.extend(content);
    field
}

/// Appends a number, seven bits in a byte, the low ones first.
fn varint(before: &[u8], mut value: u64) -> Vec<u8> {
    let mut bytes = before.to_vec();
    while value > 0x7F {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Encodes without padding, as gRPC sends binary headers.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 1);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let at = bits >> (18 - 6 * digit) & 63;
            text.extend(DIGITS.get(at as usize).map(|digit| char::from(*digit)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_vectors_of_rfc_4648_without_padding() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xBF]), "+/+/");
    }

    #[test]
    fn a_number_has_seven_bits_in_a_byte() {
        for (value, bytes) in [(0, &[0][..]), (127, &[127]), (128, &[0x80, 1]), (300, &[0xAC, 2])] {
            assert_eq!(varint(&[], value), bytes);
        }
        assert_eq!(varint(&[8], u64::MAX).len(), 11);
    }

    #[test]
    fn a_status_has_the_code_the_message_and_one_detail() {
        let details = retry_info(8, "no", 300);
        let status = b"\x08\x08\x12\x02no\x1a\x31\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x05\x0a\x03\x08\xac\x02";
        assert_eq!(details, base64(status));
    }
}
