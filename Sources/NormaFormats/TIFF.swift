/// Whole TIFF stacks; `TIFFReader` and `TIFFWriter` take them page by page.
public enum TIFF {
  /// How samples are packed when written; every one is lossless.
  public enum Compression: String, Sendable, Codable, CaseIterable {
    case none, lzw, deflate
  }

  /// Reads a stack, or the given pages of it (counted from 0); throws `FormatError` naming what is wrong.
  public static func read(_ path: String, pages: Range<Int>? = nil) throws -> ImageStack {
    let reader = try TIFFReader(path)
    return try reader.readPages(pages ?? 0..<reader.pageCount)
  }

  /// Writes a stack that ImageJ opens as such, as BigTIFF where it exceeds 4 GB unless told otherwise.
  ///
  /// Integers are rounded to nearest and cut to the range of the format. Throws `FormatError`, and then leaves
  /// the file of that name as it was.
  public static func write(
    _ stack: ImageStack, to path: String, compression: Compression = .none, bigTIFF: Bool? = nil
  ) throws {
    let writer = try TIFFWriter(
      path, compression: compression, expectedPages: stack.pages, bigTIFF: bigTIFF)
    try writer.append(stack)
    try writer.finish()
  }
}
