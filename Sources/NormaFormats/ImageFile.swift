/// Images of any kind that is supported, told apart by what they hold.
public enum ImageFile {
  /// Reads a TIFF or PNG file by its first bytes, or a folder of PNG files.
  ///
  /// Throws `FormatError`; for anything else it says what is supported.
  public static func read(_ path: String) throws -> ImageStack {
    if try fileKind(path) == .folder { return try PNG.readFolder(path) }
    let file = try InputFile(path)
    let start = try file.bytes(at: 0, count: min(8, file.length))
    if TIFFChain.isMagic(start) { return try TIFF.read(path) }
    if PNG.isMagic(start) { return try PNG.read(path) }
    let found = start.isEmpty ? "it is empty" : "it begins with the bytes \(hex(start))"
    throw FormatError.reading(
      path, "\(found); supported are TIFF and BigTIFF files, PNG files and folders of PNG files")
  }
}
