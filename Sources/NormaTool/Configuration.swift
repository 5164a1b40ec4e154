#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import ArgumentParser
import NormaConfiguration
import NormaDistributed
import NormaRecords
import NormaReport

/// Options that stand in front of those of the command line.
enum Configuration {
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
      options = try ConfigurationFile.read(
        file, known: known.filter(\.isForFiles).map { .init(name: $0.name, isFlag: $0.isFlag) })
    } else if let folder = value(of: "resume", in: given) {
      options = try ResultsFile.read("\(folder)/results.json").options(for: known)
    } else {
      return arguments
    }
    let names = Set(given.filter { $0.hasPrefix("--") }.map { String($0.dropFirst(2).prefix { $0 != "=" }) })
    options.removeAll { option in displacing[option.name, default: []].contains(where: names.contains) }
    // Who has started this process among others decides how many there are.
    if try WorkerEnvironment.current() != nil { options.removeAll { $0.name == "workers" } }
    return [name] + options.compactMap { argument($0, known) } + given
  }

  /// Options that cannot stand beside others that the command line gives.
  private static let displacing = [
    "batch-size": ["batch-sizes"], "batch-sizes": ["batch-size"], "learning-rate": ["learning-rates"],
    "learning-rates": ["learning-rate"], "momentum": ["optimizer", "optimizers"], "optimizer": ["optimizers"],
    "optimizers": ["optimizer"], "synthetic-size": ["images"],
    "synthetic-slices": ["images"], "synthetic-seed": ["images", "content", "flow-u"],
    "synthetic-images": ["images", "content", "flow-u"], "test-share": ["images"],
    "content": ["synthetic-images", "synthetic-seed"],
    "images": ["synthetic-size", "synthetic-slices", "synthetic-images", "synthetic-seed"],
    "labels": ["images", "synthetic-size", "synthetic-slices", "synthetic-images", "synthetic-seed"],
    "flow-u": ["synthetic-images", "synthetic-seed"], "flow-v": ["synthetic-images", "synthetic-seed"],
    "strain": ["synthetic-images", "synthetic-seed"], "scores": ["synthetic-images", "synthetic-seed"],
  ]

  private static func value(of name: String, in arguments: [String]) -> String? {
    for (index, word) in arguments.enumerated().reversed() {
      if word.hasPrefix("--\(name)=") { return String(word.dropFirst(name.count + 3)) }
      if word == "--\(name)", index + 1 < arguments.count { return arguments[index + 1] }
    }
    return nil
  }

  /// The option as one word, as values may begin with a dash; nil for a flag that is not set and cannot be unset.
  private static func argument(_ option: (name: String, value: String), _ known: [KnownOption]) -> String? {
    guard let kind = known.first(where: { $0.name == option.name }), kind.isFlag else {
      return "--\(option.name)=\(option.value)"
    }
    if option.value == "true" { return "--\(option.name)" }
    return kind.hasInversion ? "--no-\(option.name)" : nil
  }

  /// The options of a run as a file that `--config` takes.
  static func text(_ record: ComparisonRecord, command: String) throws -> String {
    try ConfigurationFile.text(
      command == "train" ? record.optionsForTrain : record.options,
      comment: "The options of this run, as norma \(command) --config takes them.")
  }
}

extension ComparisonRecord {
  /// The run's options for a command that knows the given ones.
  fileprivate func options(for known: [KnownOption]) throws -> [(name: String, value: String)] {
    guard known.contains(where: { $0.name == "norm" }) else { return options }
    guard runs.count <= 1, configuration["seeds"] ?? "1" == "1",
      ComparisonRecord.gridLists.allSatisfy({ configuration[$0]?.contains(",") != true }),
      // Only norma compare names one in a list.
      configuration["optimizers"] == nil
    else { throw ConfigurationError("the run has several trainings; go on with it by norma compare --resume") }
    return optionsForTrain
  }

  /// The options of a run of one training by their names on the command line of `norma train`.
  fileprivate var optionsForTrain: [(name: String, value: String)] {
    options.compactMap { name, value in
      switch name {
      case "norms": ("norm", value)
      case "seeds", "score": nil
      default: (name, value)
      }
    }
  }
}

/// An option of a command, as the command itself describes it.
struct KnownOption {
  let name: String
  let isFlag: Bool
  /// Whether `--no-NAME` is there too.
  let hasInversion: Bool

  /// Whether it may stand in a file, which describes a run and not how to tell of it.
  var isForFiles: Bool {
    !["config", "resume", "help", "version", "overwrite", "json", "verbose", "quiet"].contains(name)
  }

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
    let arguments = (dump.command.arguments ?? []).compactMap { argument in
      argument.names?.first { $0.kind == "long" }.map { (name: $0.name, isFlag: argument.kind == "flag") }
    }
    // The two names of a flag stand there as two arguments.
    let names = Set(arguments.map(\.name))
    return arguments.compactMap { name, isFlag in
      if name.hasPrefix("no-"), names.contains(String(name.dropFirst(3))) { return nil }
      return KnownOption(name: name, isFlag: isFlag, hasInversion: names.contains("no-\(name)"))
    }
  }
}
