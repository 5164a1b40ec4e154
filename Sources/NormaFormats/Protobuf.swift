/// A message in protobuf's wire format.
struct ProtobufMessage {
  private(set) var bytes: [UInt8] = []

  /// An int32 or int64.
  mutating func add(_ field: Int, _ value: Int) {
    varint(field << 3)
    varint(value)
  }

  mutating func add(_ field: Int, _ value: Double) {
    varint(field << 3 | 1)
    bytes += littleEndian(value.bitPattern)
  }

  mutating func add(_ field: Int, _ value: Float) {
    varint(field << 3 | 5)
    bytes += littleEndian(value.bitPattern)
  }

  /// Bytes, a string's UTF-8 or a message.
  mutating func add(_ field: Int, _ value: some Collection<UInt8>) {
    begin(field, count: value.count)
    bytes += value
  }

  /// What comes before so many bytes of a field, for bytes that follow otherwise.
  mutating func begin(_ field: Int, count: Int) {
    varint(field << 3 | 2)
    varint(count)
  }

  /// Seven bits per byte, the low ones first; negative numbers as 64 bits.
  private mutating func varint(_ value: Int) {
    var rest = UInt64(bitPattern: Int64(value))
    while rest > 0x7F {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }
}
