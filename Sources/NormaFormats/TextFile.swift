/// Reads text that a person wrote.
public enum TextFile {
  /// The whole file, which must be UTF-8.
  /// - Throws: ``FormatError`` when it cannot be read, is no UTF-8 or has more than `largest` bytes.
  public static func read(_ path: String, largest: Int = 16 << 20) throws -> String {
    let file = try InputFile(path)
    guard file.length <= largest else {
      throw FormatError.reading(path, "a text of at most \(largest) bytes was expected, it has \(file.length)")
    }
    guard let text = try String(validating: file.bytes(at: 0, count: file.length), as: UTF8.self) else {
      throw FormatError.reading(path, "it is no text in UTF-8; save it as one")
    }
    return text
  }
}
