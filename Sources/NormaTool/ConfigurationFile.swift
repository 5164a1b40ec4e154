#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import ArgumentParser
import NormaFormats
import NormaRecords
import NormaReport
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
enum ConfigurationFile {
  /// More bytes than this have no configuration.
  static let largest = 1 << 20

  /// The command line with the options of its `--config` file, or of the run that `--resume` names, in front of those that are
  /// given: the later ones win.
  static func expand(_ arguments: [String], of commands: [any ParsableCommand.Type]) throws -> [String] {
    guard let name = arguments.first, let command = commands.first(where: { $0.configuration.commandName == name })
    else { return arguments }
    let known = try KnownOption.all(of: command)
    guard known.contains(where: { $0.name == "config" }) else { return arguments }
    let given = Array(arguments.dropFirst())
    var options: [(name: String, value: String)]
    if let file = value(of: "config", in: given) {
      options = try read(file, known)
    } else if let folder = value(of: "resume", in: given) {
      options = try ResultsFile.read("\(folder)/results.json").options(of: command, known)
    } else {
      return arguments
    }
    let names = Set(given.filter { $0.hasPrefix("--") }.map { String($0.dropFirst(2).prefix { $0 != "=" }) })
    options.removeAll { option in displacing[option.name, default: []].contains(where: names.contains) }
    return [name] + options.map { argument($0, known) } + given
  }

  /// Options that cannot stand beside others that the command line gives.
  private static let displacing = [
    "batch-size": ["batch-sizes"], "batch-sizes": ["batch-size"], "learning-rate": ["learning-rates"],
    "learning-rates": ["learning-rate"], "momentum": ["optimizer"], "synthetic-size": ["images"],
    "synthetic-slices": ["images"], "synthetic-seed": ["images"],
    "images": ["synthetic-size", "synthetic-slices", "synthetic-seed"],
    "labels": ["synthetic-size", "synthetic-slices", "synthetic-seed"],
  ]

  private static func value(of name: String, in arguments: [String]) -> String? {
    for (index, word) in arguments.enumerated().reversed() {
      if word.hasPrefix("--\(name)=") { return String(word.dropFirst(name.count + 3)) }
      if word == "--\(name)", index + 1 < arguments.count { return arguments[index + 1] }
    }
    return nil
  }

  private static func argument(_ option: (name: String, value: String), _ known: [KnownOption]) -> String {
    let isFlag = known.contains { $0.name == option.name && $0.isFlag }
    // As one word: values may begin with a dash.
    return isFlag ? "--" + (option.value == "true" ? "" : "no-") + option.name : "--\(option.name)=\(option.value)"
  }

  /// The options in a file.
  static func read(_ path: String, _ known: [KnownOption]) throws -> [(name: String, value: String)] {
    func problem(_ what: String) -> ValidationError { ValidationError("'\(path)': \(what)") }
    let text = try TextFile.read(path, largest: largest)
    let node: Node?
    do { node = try Yams.compose(yaml: text) } catch { throw problem("it is no YAML: \(error)") }
    guard let node else { return [] }
    guard let mapping = node.mapping else {
      throw problem("a mapping of option names to values was expected, such as 'epochs: 5'")
    }
    var names: Set<String> = []
    return try mapping.compactMap { key, value in
      guard let name = key.scalar?.string else { throw problem("its keys must be names of options") }
      let names_ = known.map(\.name)
      guard let option = known.first(where: { $0.name == name }), !KnownOption.notInFiles.contains(name) else {
        let usable = names_.filter { !KnownOption.notInFiles.contains($0) }
        let nearest = nearest(to: name, among: usable)
        throw problem(
          "unknown key '\(name)'; "
            + (nearest.map { "did you mean '\($0)'?" } ?? "the known ones are \(usable.joined(separator: ", "))"))
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
      if option.isFlag {
        guard joined == "true" || joined == "false" else {
          throw problem("'\(name)' should be true or false, got '\(joined)'")
        }
        if joined == "false", !option.hasInversion { return nil }
      }
      return (name, joined)
    }
  }

  /// The options of a run as such a file.
  static func text(_ record: ComparisonRecord, command: String) throws -> String {
    let isTraining = command == "train"
    let pairs = record.options.filter { !isTraining || !KnownOption.notForTrain.contains($0.name) }.map { name, value in
      (Node(isTraining && name == "norms" ? "norm" : name), Node(value))
    }
    return "# The options of this run, as norma \(command) --config takes them.\n"
      + (try Yams.serialize(node: Node(pairs), width: -1, allowUnicode: true))
  }
}

extension ComparisonRecord {
  /// The run's options for a command.
  fileprivate func options(
    of command: any ParsableCommand.Type, _ known: [KnownOption]
  ) throws -> [(name: String, value: String)] {
    guard known.contains(where: { $0.name == "norm" }) else { return options }
    guard runs.count <= 1, configuration["norms"]?.contains(",") != true, configuration["seeds"] ?? "1" == "1" else {
      throw ValidationError("the run has several trainings; go on with it by norma compare --resume")
    }
    return options.compactMap { name, value in
      if name == "norms" { return ("norm", value) }
      return KnownOption.notForTrain.contains(name) ? nil : (name, value)
    }
  }
}

/// An option of a command, as the command itself describes it.
struct KnownOption {
  let name: String
  let isFlag: Bool
  /// Whether `--no-NAME` is there too.
  let hasInversion: Bool

  /// Options that say where options come from or what is asked for now.
  static let notInFiles: Set = ["config", "resume", "help", "version", "generate-completion-script"]
  /// Options of `norma compare` that `norma train` has not.
  static let notForTrain: Set = ["seeds", "score"]

  static func all(of command: any ParsableCommand.Type) throws -> [KnownOption] {
    struct Dump: Decodable {
      struct Command: Decodable { let arguments: [Argument]? }
      struct Argument: Decodable {
        struct Name: Decodable {
          let kind: String
          let name: String
        }
        let kind: String
        let names: [Name]?
      }
      let command: Command
    }
    let dump = try JSONDecoder().decode(Dump.self, from: Data(command._dumpHelp().utf8))
    return (dump.command.arguments ?? []).compactMap { argument in
      let names = (argument.names ?? []).filter { $0.kind == "long" }.map(\.name)
      guard let name = names.first else { return nil }
      return KnownOption(name: name, isFlag: argument.kind == "flag", hasInversion: names.contains("no-\(name)"))
    }
  }
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
