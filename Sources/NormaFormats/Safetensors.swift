/// The safetensors format for weights: 8 bytes with the header's length, a header in JSON, then the data of
/// all tensors, little-endian and row-major, as huggingface/safetensors describes it.
public enum Safetensors {
  /// An element type, by the format's name for it.
  public enum ElementType: String, Sendable, CaseIterable {
    case bool = "BOOL"
    case u8 = "U8"
    case i8 = "I8"
    case i16 = "I16"
    case i32 = "I32"
    case i64 = "I64"
    case f16 = "F16"
    case bf16 = "BF16"
    case f32 = "F32"
    case f64 = "F64"

    /// Bytes per element.
    public var size: Int {
      switch self {
      case .bool, .u8, .i8: 1
      case .i16, .f16, .bf16: 2
      case .i32, .f32: 4
      case .i64, .f64: 8
      }
    }
  }

  /// A tensor to be written.
  public struct Entry {
    public let name: String
    public let type: ElementType
    public let shape: [Int]
    /// Makes the elements in row-major order, when it is their turn to be written.
    public let bytes: () throws -> [UInt8]

    public init(name: String, type: ElementType, shape: [Int], bytes: @escaping () throws -> [UInt8]) {
      self.name = name
      self.type = type
      self.shape = shape
      self.bytes = bytes
    }

    /// Of all elements.
    public var byteCount: Int { shape.reduce(1, *) * type.size }

    func checkedBytes() throws -> [UInt8] {
      let bytes = try bytes()
      precondition(bytes.count == byteCount, "the bytes of '\(name)' fit its shape")
      return bytes
    }
  }

  /// Writes the tensors in the given order, atomically; one of them is in memory at a time.
  /// - Parameter metadata: free text by key, kept in the header.
  /// - Throws: ``FormatError`` when the file cannot be written, and what an entry's `bytes` throws; then a file that was
  ///   there before is as it was.
  public static func write(_ entries: [Entry], metadata: [String: String] = [:], to path: String) throws {
    var fields: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key < $1.key }.map { "\(quoted($0.key)):\(quoted($0.value))" }
      fields.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
    }
    var offset = 0
    for entry in entries {
      let end = offset + entry.byteCount
      let shape = entry.shape.map(String.init).joined(separator: ",")
      fields.append(
        "\(quoted(entry.name)):{\"dtype\":\(quoted(entry.type.rawValue)),\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}"
      )
      offset = end
    }
    var header = Array("{\(fields.joined(separator: ","))}".utf8)
    // Spaces up to a multiple of 8 keep the data aligned.
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    guard header.count <= SafetensorsReader.largestHeader else {
      throw FormatError.writing(
        path, "its header would have \(header.count) bytes, \(SafetensorsReader.largestHeader) are the most")
    }
    let file = try OutputFile(path)
    try withUnsafeBytes(of: UInt64(header.count).littleEndian) { try file.write($0) }
    try header.withUnsafeBytes { try file.write($0) }
    for entry in entries { try entry.checkedBytes().withUnsafeBytes { try file.write($0) } }
    try file.commit()
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
