import ArgumentParser
import NormaNormalization

/// What the options that take normalizations say about them.
enum NormHelp {
  /// What a shell may complete.
  static let names = CompletionKind.list(NormalizationKind.knownNames)

  /// For one normalization.
  static func one(default name: String) -> ArgumentHelp {
    ArgumentHelp("The normalization: \(listed). \(options) (default: \(name))", valueName: "name")
  }

  /// For a list of them.
  static func list(default names: String) -> ArgumentHelp {
    ArgumentHelp(
      "Normalizations, separated by commas: \(listed). \(options) (default: \(names))", valueName: "names")
  }

  private static var listed: String { NormalizationKind.knownNames.joined(separator: ", ") }
  static let options = "Options follow after colons, as in group:8; 'norma explain NAME' lists them."
}
