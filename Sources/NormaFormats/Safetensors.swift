/// The safetensors format for weights: 8 bytes with the header's length, a header in JSON, then the data of
/// all tensors, little-endian and row-major, as huggingface/safetensors describes it.
public enum Safetensors {
  /// A tensor to be written.
  public struct Entry {
    public let name: String
    /// The format's name of the element type, such as `F32`.
    public let dtype: String
    public let shape: [Int]
    public let bytes: [UInt8]

    public init(name: String, dtype: String, shape: [Int], bytes: [UInt8]) {
      self.name = name
      self.dtype = dtype
      self.shape = shape
      self.bytes = bytes
    }
  }

  /// Writes the tensors in the given order, atomically.
  /// - Parameter metadata: free text by key, kept in the header.
  /// - Throws: ``FormatError`` when the file cannot be written.
  public static func write(_ entries: [Entry], metadata: [String: String] = [:], to path: String) throws {
    var fields: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key < $1.key }.map { "\(quoted($0.key)):\(quoted($0.value))" }
      fields.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
    }
    var offset = 0
    for entry in entries {
      let end = offset + entry.bytes.count
      let shape = entry.shape.map(String.init).joined(separator: ",")
      fields.append(
        "\(quoted(entry.name)):{\"dtype\":\(quoted(entry.dtype)),\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}"
      )
      offset = end
    }
    var header = Array("{\(fields.joined(separator: ","))}".utf8)
    // Spaces up to a multiple of 8 keep the data aligned.
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    let file = try OutputFile(path)
    try withUnsafeBytes(of: UInt64(header.count).littleEndian) { try file.write($0) }
    try header.withUnsafeBytes { try file.write($0) }
    for entry in entries { try entry.bytes.withUnsafeBytes { try file.write($0) } }
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
