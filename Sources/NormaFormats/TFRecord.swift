/// CRC-32C, the cyclic redundancy check with Castagnoli's polynomial (RFC 3720, section 12.1). The one of PNG and zlib
/// has another polynomial.
enum CRC32C {
  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { sum, _ in sum & 1 == 1 ? sum >> 1 ^ 0x82F6_3B78 : sum >> 1 }
  }

  static func checksum(_ bytes: [UInt8]) -> UInt32 {
    var sum = UInt32.max
    for byte in bytes { sum = sum >> 8 ^ table[Int(UInt8(truncatingIfNeeded: sum) ^ byte)] }
    return ~sum
  }
}

/// TensorFlow's container of records: the length of the data in 8 bytes, the check of these, the data, and their
/// check; all little-endian (tensorflow/core/lib/io/record_writer.h).
enum TFRecord {
  static func bytes(_ data: [UInt8]) -> [UInt8] {
    let length = littleEndian(UInt64(data.count))
    return length + littleEndian(maskedChecksum(length)) + data + littleEndian(maskedChecksum(data))
  }

  /// The check as it is stored: turned by 15 bits, plus a constant, since data that hold checks of their own would
  /// weaken a plain one.
  static func maskedChecksum(_ bytes: [UInt8]) -> UInt32 {
    let sum = CRC32C.checksum(bytes)
    return (sum >> 15 | sum << 17) &+ 0xA282_EAD8
  }
}

func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}
