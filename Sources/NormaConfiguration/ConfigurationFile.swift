import NormaFormats
import Yams

/// Options in a YAML file: a mapping of option names to values, a list for what takes several.
///
/// ```yaml
/// norms: [batch, group, switchable]
/// images: volume.tif
/// labels: labels.tif
/// learning-rate: 0.001
/// diagnose: true
/// ```
public enum ConfigurationFile {
  /// More bytes than this have no configuration.
  static let largest = 1 << 20

  /// An option that a file may give.
  public struct Option: Sendable {
    public let name: String
    /// Whether its value is true or false.
    public let isFlag: Bool

    public init(name: String, isFlag: Bool = false) {
      self.name = name
      self.isFlag = isFlag
    }
  }

  /// The options in a file with their values as text; those of lists are joined by commas.
  /// - Throws: `FormatError` for a file that cannot be read, ``ConfigurationError`` for what is no such mapping and for keys that
  ///   are not among the known ones.
  public static func read(_ path: String, known: [Option]) throws -> [(name: String, value: String)] {
    func problem(_ what: String) -> ConfigurationError { ConfigurationError("'\(path)': \(what)") }
    let text = try TextFile.read(path, largest: largest)
    let node: Node?
    do { node = try Yams.compose(yaml: text) } catch { throw problem("it is no YAML: \(error)") }
    guard let node else { return [] }
    guard let mapping = node.mapping else {
      throw problem("a mapping of option names to values was expected, such as 'epochs: 5'")
    }
    var names: Set<String> = []
    return try mapping.map { key, value in
      guard let name = key.scalar?.string else { throw problem("its keys must be names of options") }
      guard let option = known.first(where: { $0.name == name }) else {
        let names = known.map(\.name)
        let nearest = nearest(to: name, among: names)
        throw problem(
          "unknown key '\(name)'; "
            + (nearest.map { "did you mean '\($0)'?" } ?? "the known ones are \(names.joined(separator: ", "))"))
      }
      guard names.insert(name).inserted else { throw problem("the key '\(name)' is there twice") }
      let words: [String]
      switch value {
      case .scalar(let scalar): words = [scalar.string]
      case .sequence(let sequence):
        words = try sequence.map {
          guard let word = $0.scalar?.string else { throw problem("'\(name)' should be a value or a list of values") }
          return word
        }
      default: throw problem("'\(name)' should be a value or a list of values")
      }
      guard !words.isEmpty, words.allSatisfy({ !$0.isEmpty }) else {
        throw problem("'\(name)' has no value; give one or leave the key out")
      }
      let joined = words.joined(separator: ",")
      guard !option.isFlag || joined == "true" || joined == "false" else {
        throw problem("'\(name)' should be true or false, got '\(joined)'")
      }
      return (name, joined)
    }
  }

  /// Such a file.
  /// - Parameter comment: one line, for its head.
  public static func text(_ options: [(name: String, value: String)], comment: String) throws -> String {
    "# \(comment)\n"
      + (try Yams.serialize(
        node: Node(options.map { (Node($0.name), Node($0.value)) }), width: -1, allowUnicode: true))
  }
}

/// A configuration that cannot be used: what was expected, what came, what to do.
public struct ConfigurationError: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}

/// The name that differs from the given one by the fewest insertions, deletions and replacements of characters (Levenshtein
/// 1966), or nil where none is near.
func nearest(to word: String, among names: [String]) -> String? {
  func distance(_ a: [Character], _ b: [Character]) -> Int {
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var corner = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        (corner, row[j + 1]) = (row[j + 1], min(corner + (x == y ? 0 : 1), row[j] + 1, row[j + 1] + 1))
      }
    }
    return row[b.count]
  }
  // Long keys of a hostile file would take long.
  guard word.count <= 64 else { return nil }
  let best = names.map { (name: $0, distance: distance(Array(word), Array($0))) }.min { $0.distance < $1.distance }
  guard let best, best.distance <= max(2, word.count / 3) else { return nil }
  return best.name
}
