/// Reads text that a person wrote.
public enum TextFile {
  /// The whole file, which must be UTF-8.
  /// - Throws: ``FormatError`` when it cannot be read, is no UTF-8 or has more than 16 MiB.
  public static func read(_ path: String) throws -> String {
    let file = try InputFile(path)
    guard file.length <= 1 << 24 else {
      throw FormatError.reading(path, "a text file of at most 16 MiB was expected, this one has \(file.length) bytes")
    }
    guard let text = try String(validating: file.bytes(at: 0, count: file.length), as: UTF8.self) else {
      throw FormatError.reading(path, "it is no text in UTF-8; save it as one")
    }
    return text
  }
}
