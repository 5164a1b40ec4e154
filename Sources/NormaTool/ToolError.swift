import NormaFormats

/// Something the user has to change: what was expected, what came, what to do.
struct ToolError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

extension ToolError {
  /// - Throws: where the file to be written is one of those that are read.
  static func check(output: String, isNone inputs: [String]) throws {
    for input in inputs where Folder.isSameFile(input, output) {
      throw ToolError(
        "'\(output)' is to be written, but it is read too ('\(input)'); choose another name, so that it stays")
    }
  }
}
