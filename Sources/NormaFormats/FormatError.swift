/// What went wrong with a file: its path, and a reason saying what was expected, what came and what to do.
public struct FormatError: Error, CustomStringConvertible, Sendable, Equatable {
  /// The file or folder as the caller named it.
  public let path: String
  /// What is wrong with it.
  public let reason: String
  /// The whole sentence, such as "cannot read 'x.tif': No such file or directory".
  public let description: String

  static func reading(_ path: String, _ reason: String) -> FormatError {
    FormatError(path: path, reason: reason, description: "cannot read '\(path)': \(reason)")
  }

  static func writing(_ path: String, _ reason: String) -> FormatError {
    FormatError(path: path, reason: reason, description: "cannot write '\(path)': \(reason)")
  }

  static func folder(_ path: String, _ reason: String) -> FormatError {
    FormatError(
      path: path, reason: reason, description: "cannot make the folder '\(path)': \(reason); choose a writable place")
  }

  static func stack(_ reason: String) -> FormatError {
    FormatError(path: "", reason: reason, description: "cannot make an image stack: \(reason)")
  }

  static func array(_ reason: String) -> FormatError {
    FormatError(path: "", reason: reason, description: "cannot make an IDX array: \(reason)")
  }
}

/// The product of `factors`, or nil where it does not fit.
func product(_ factors: Int...) -> Int? {
  var result = 1
  for factor in factors {
    let (next, overflow) = result.multipliedReportingOverflow(by: factor)
    if overflow || factor < 0 { return nil }
    result = next
  }
  return result
}
